#!/bin/bash
# launch/plot-metrics: what the picture of a real run and of made-up ones shows, and what a user may get wrong: each one
# message and exit code 2.
. tests/support.sh
command -v gnuplot >/dev/null || { echo "no gnuplot here" && exit 77; }
here=$PWD
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
finetune 1 "$folder/tuned" --train.eval_every=5
failures=0
cd "$folder" || exit

# draws WHAT ARGUMENT...: into picture.svg, quietly
draws() {
    what=$1
    shift
    "$here/launch/plot-metrics" -o picture.svg "$@" >output 2>&1 && [ ! -s output ] && return
    echo "$what: $(cat output)" && failures=$((failures + 1))
}
# shows PATTERN [TIMES]: lines of the picture that match an extended expression
shows() {
    local times
    times=$(grep -Ec -- "$1" picture.svg) || true
    [ "$times" = "${2:-1}" ] || { echo "$what: $times x $1 for ${2:-1}" && failures=$((failures + 1)); }
}
# says TEXT...: each stands once in the picture
says() {
    local text
    for text; do shows "<text>(<tspan [^>]*>)? *$text(</tspan>)?</text>"; done
}
# refused TEXT ARGUMENT...
refused() {
    local code=0 text=$1
    shift
    "$here/launch/plot-metrics" -o refused.svg "$@" >output 2>&1 || code=$?
    [ $code = 2 ] && [ "$(<output)" = "launch/plot-metrics: $text" ] && [ ! -e refused.svg ] && return
    echo "$*: exit code $code for 2; \"$text\" wanted: $(<output)" && failures=$((failures + 1))
}

# made_up RUN STEPS: a loss of 3, but one step of 90, and an evaluation every 10 steps; a line that was cut off
made_up() {
    mkdir -p "$1"
    awk -v steps="$2" 'BEGIN {
        for (s = 1; s <= steps; s++) {
            printf "{\"step\":%d,\"loss\":%g,\"lr\":1e-4,\"grad_norm\":1.2,", s, s == 100 ? 90 : 3 + s % 2 / 10
            print "\"tokens\":50000.0,\"tokens_per_s\":5000.0}"
            if (s % 10) continue
            printf "{\"step\":%d,\"split\":\"heldout\",\"loss\":3.2,", s
            printf "\"metrics\":{\"perplexity\":24.5,\"masked_accuracy\":%g}}\n", s / steps
        }
        printf "{\"step\":%d,\"lo", s
    }' >"$1/metrics.jsonl"
}
circle="use xlink:href='#gpPt6'"
square="use xlink:href='#gpPt4'"

draws "a real run" tuned
says tuned loss accuracy step training dev
shows '<title>Gnuplot' 0
shows "$circle" 10 # four evaluations, loss and accuracy, and two in the legend

made_up one 400
made_up lr=3 50
draws "made-up runs" --level=4.5=entropy "one=Black & <White>'s_1" lr=3/
says 'Black &amp; &lt;White>.s_1' lr=3 'masked accuracy' step 'training, median of 11 steps' held-out entropy
says 4.4 0.6 # ticks of the loss, up to the level, and of the accuracy
shows "$circle" 82
shows "$square" 11
shows '> *80<' 0 # a tick of the loss, had the median let that one step through

draws "tokens" --tokens --level=2 one/metrics.jsonl=A=B
says 'million tokens' A=B 20 # 400 steps of 50,000
draws "hours" --hours lr=3=C
says 'hours of training' C 0.14 # 50 steps of 10 s

grep -v split one/metrics.jsonl >losses
draws "no evaluations" losses
shows 'held-out|accuracy' 0

refused 'which run? --help says more'
refused 'there is no option --token; --help lists them' --token one
refused 'there is no two' two
refused 'there is no two=Two' two=Two
refused "there is no $toy/metrics.jsonl" "$toy"
refused 'there is no folder nowhere' -o nowhere/a.svg one
refused '--level=e=4: expected VALUE or VALUE=LABEL' --level=e=4 one
refused 'one is a folder, not a picture' -o one one
refused 'toy/task.ini:1: not a line of metrics' toy/task.ini
sed '30s/.$//' one/metrics.jsonl >damaged
refused 'damaged:30: not a line of metrics' lr=3 damaged
sed '$d; 30s/"loss"/"lost"/' one/metrics.jsonl >damaged
refused 'damaged:30: not a line of metrics' damaged
grep split one/metrics.jsonl >evaluations
refused 'evaluations: no training steps in it' evaluations
: >empty
refused 'empty: no training steps in it' empty
PATH=/nowhere refused 'no gnuplot here; launch/install-deps plot brings it' one

exit $((failures > 0))
