#!/bin/bash
# --run.trace and launch/plot-trace: what stands in a trace of real runs, what the picture of one shows, and what a user
# may get wrong: each one message and exit code 2.
. tests/support.sh
here=$PWD
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
toy_text "$toy"
failures=0
fail() { echo "$*" && failures=$((failures + 1)); }

# strict FILE: the program's own JSON reader takes it, and only misses what a model's configuration would have.
strict() {
    "$paf" finetune --data.task="$toy/task.ini" --data.dir="$toy" --data.vocab="$toy/vocab.txt" --model.config="$1" \
        --run.out="$folder/never" >"$folder/strict.log" 2>&1 || true
    grep -qF "$1: \"vocab_size\" is missing" "$folder/strict.log" || fail "$1 is not JSON: $(<"$folder/strict.log")"
}

# lanes FILE: checks each event, and tells a line a lane: its name, its steps, the kinds of its spans.
lanes() {
    awk '
        function wrong(what) { print "line " FNR ": " what ": " $0; exit 1 }
        function number(name) {
            if (!match($0, "\"" name "\": [0-9]+([.][0-9][0-9][0-9])?[,}]")) wrong("no " name)
            return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 5) + 0
        }
        function text(name) {
            if (!match($0, "\"" name "\": \"[^\"]*\"")) wrong("no " name)
            return substr($0, RSTART + length(name) + 5, RLENGTH - length(name) - 6)
        }
        /"thread_name"/ {
            lane = number("tid"); lanes++; n = last = 0
            sub(/.*"args"/, "")
            name[lane] = text("name")
        }
        !/"ph": "X"/ { next }
        { begin = number("ts"); end = begin + number("dur") }
        number("tid") != lane || number("pid") != 0 { wrong("in the lane of another rank") }
        text("cat") == "step" {
            if (n && begin < ends[n]) wrong("steps overlap")
            begins[++n] = begin; ends[n] = end; at = 1
            steps[lane] = steps[lane] " " number("step")
            next
        }
        {
            if (begin < last - 1e-6) wrong("begins before the one before it ends")
            while (at < n && begin >= begins[at + 1]) at++
            if (begin < begins[at] || end > ends[at] + 1e-6) wrong("not within step " at)
            last = end
            if (index(kinds[lane], " " text("name")) == 0) kinds[lane] = kinds[lane] " " text("name")
            time[lane] += end - begin
        }
        END {
            for (l = 0; l < lanes; l++) {
                m = split(kinds[l], kind, " ")
                sorted = ""
                for (i = split("attention embedding exchange ffn head idle optimizer", all, " "); i > 0; i--)
                    for (k = 1; k <= m; k++) if (kind[k] == all[i]) sorted = " " all[i] sorted
                print name[l] ":" steps[l] ":" sorted
            }
        }' "$1"
}

# traced FILE LANE...: these and no other lanes
traced() {
    strict "$1"
    local said file=$1
    shift
    said=$(lanes "$file") || true
    [ "$said" = "$(printf '%s\n' "$@")" ] || fail "$file: $said"
}

# draws WHAT ARGUMENT...: into picture.svg, quietly, with no number that is none
draws() {
    what=$1
    shift
    rm -f "$folder/picture.svg"
    launch/plot-trace -o "$folder/picture.svg" "$@" >"$folder/output" 2>&1 || fail "$what: exit code $?"
    [ ! -s "$folder/output" ] || fail "$what: $(<"$folder/output")"
    grep -Eqi '[^a-z](nan|inf)[^a-z]' "$folder/picture.svg" && fail "$what: a number that is none"
    [ "$(tail -n 1 "$folder/picture.svg")" = "</svg>" ] || fail "$what: no end"
}
# says TEXT [TIMES]
says() {
    local times
    times=$(grep -Ec "<text [^>]*>$1</text>" "$folder/picture.svg") || true
    [ "$times" = "${2:-1}" ] || fail "$what: $times x $1 for ${2:-1}"
}

echo "attention and FFN on a rank each"
finetune 2 "$folder/off" --model.design=paf --parallel.team=1+1 --parallel.balance=off \
    --run.trace="$folder/new/off.json"
common="embedding exchange"
traced "$folder/new/off.json" "rank 0: attention: 3 4: attention $common head idle optimizer" \
    "rank 1: FFN: 3 4: $common ffn head idle optimizer"
draws "1+1, off" "$folder/new/off.json"
says 'One training step of PAF: attention and FFN side by side on 2 ranks'
says 'rank 0' 2
says 'rank 1' 2
says 'layer [123], forward'
says 'layer [123], backward'
says '.*>team 1.1, balance off<.*>step 3, .*'
for colour in 0072B2 D55E00; do
    [ "$(grep -c "<path fill=\"#$colour\"" "$folder/picture.svg")" = 3 ] || fail "not all of the spans of $colour"
done

echo "a made-up step of 4 layers"
# A layer takes 40 ms forward, 80 backward, but the third 10 longer: attention 30 (60), FFN 36 (72), the rest exchange.
awk 'function event(rank, name, begin, length_) {
        printf ",\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 0, \"tid\": %d, ", name,
            name ~ /step/ ? "step" : "span", rank
        printf "\"ts\": %d.000, \"dur\": %d.000%s}", begin * 1000, length_ * 1000,
            name ~ /step/ ? ", \"args\": {\"step\": 5, \"tokens\": 77}" : ""
    }
    function pass(rank, name, busy, whole) {
        event(rank, name, at, busy); event(rank, "idle", at + busy, whole - busy - 1)
        event(rank, "exchange", at + whole - 1, 1); at += whole
    }
    BEGIN {
        printf "{\"displayTimeUnit\": \"ms\",\n\"otherData\": {\"design\": \"paf\", \"team\": \"1+1\", "
        print "\"balance\": \"off\", \"layers\": 4, \"hidden\": 8},\n\"traceEvents\": ["
        printf "{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 0, \"tid\": 0, \"args\": {\"name\": \"-\"}}"
        for (r = 0; r < 2; r++) {
            printf ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 0, \"tid\": %d, ", r
            printf "\"args\": {\"name\": \"rank %d: %s\"}}", r, r ? "FFN" : "attention"
            name = r ? "ffn" : "attention"
            event(r, "step 5", 0, 520)
            event(r, "embedding", 0, 4); event(r, "exchange", 4, 1); at = 5
            for (l = 1; l <= 4; l++) pass(r, name, r ? 36 : 30, l == 3 ? 50 : 40)
            event(r, "head", at, 4); event(r, "exchange", at + 4, 1); at += 5
            for (l = 4; l >= 1; l--) pass(r, name, r ? 72 : 60, 80)
            event(r, "embedding", at, 5); event(r, "optimizer", at + 5, 15)
        }
        printf "\n]}\n"
    }' >"$folder/made-up.json"
strict "$folder/made-up.json"
draws "made up" "$folder/made-up.json"
says '.*>team 1.1, balance off<.*>step 5, 77 tokens: 520 ms; 4 layers, hidden size 8<.*'
says 'layer 4, forward' # its time is the median, the upper of two
says 'layer 4, backward'
says attention 3 # under its rank, and forward and backward
says FFN 3
says idle 3 # of the attention rank, but not the few milliseconds of the other, forward
says 'attention 35 %' # (4 x 30 + 4 x 60) / 520 / 2
says 'FFN 42 %'
says 'optimizer 3 %'
says '0 ms' 3
says 100 1 # of the whole step; a layer's 80 have marks in between
sed 's/"balance": "off"/"balance": "on"/; s/\("ts": [0-9]*\)[0-9]\./\1./; s/\("dur": [0-9]*\)[0-9]\./\1./' \
    "$folder/made-up.json" >"$folder/quick.json" # ten times as fast
draws "two traces" --title=Two "$folder/made-up.json" "$folder/quick.json"
says Two
says '.*>team 1.1, balance off<.*520 ms.*'
says '.*>team 1.1, balance on<.*52 ms.*'
says 'layer 4, forward' 2
for width in 752.00 75.20; do # on one scale: two lanes each
    [ "$(grep -c "<rect [^>]*width=\"$width\"" "$folder/picture.svg")" = 2 ] || fail "no lanes of width $width"
done

echo "both on each; other steps"
finetune 3 "$folder/on" --model.design=paf --parallel.team=2+1 --train.micro_tokens=64 --run.trace="$folder/on.json" \
    --run.trace_from=1 --run.trace_steps=3
both="attention $common ffn head idle optimizer"
traced "$folder/on.json" "rank 0: attention and FFN: 1 2 3: $both" "rank 1: attention and FFN: 1 2 3: $both" \
    "rank 2: FFN: 1 2 3: ${both#attention }"
draws "2+1, on" --step 2 --title 'A & <B>' "$folder/on.json"
says 'A &amp; &lt;B&gt;'
says '.*>step 2, .*'
says 'rank 2' 2

echo "a rank alone, that resumes, up to its last step"
finetune 1 "$folder/alone" --model.design=paf --train.max_steps=10
finetune 1 "$folder/alone" --model.design=paf --train.max_steps=14 --run.resume=auto --run.trace="$folder/alone.json" \
    --run.trace_from=13 --run.trace_steps=9
traced "$folder/alone.json" "rank 0: attention and FFN: 13 14: ${both/ idle/}"
draws "one rank" "$folder/alone.json"
says 'One training step of PAF on one rank'
finetune 1 "$folder/alone" --model.design=paf --train.max_steps=16 --run.resume=auto --run.trace="$folder/late.json"
grep -q 'nothing to trace: the run goes on after step 14; --run.trace_from=15 would' "$folder/alone.log" ||
    fail "$(<"$folder/alone.log")"
[ ! -e "$folder/late.json" ] || fail "a trace of nothing"

echo "SAF, pretrained"
pretrain 2 "$folder/saf" --model.design=saf --parallel.team=1+1 --run.trace="$folder/saf.json"
traced "$folder/saf.json" "rank 0: attention and FFN: 3 4: $both" "rank 1: FFN and attention: 3 4: $both"
draws SAF "$folder/saf.json"

echo "a trace changes nothing"
finetune 2 "$folder/plain" --model.design=paf --parallel.team=1+1 --parallel.balance=off
same_losses "$folder/off" "$folder/plain" 0

echo "what a user may get wrong"
# refused TEXT PROGRAM ARGUMENT...
refused() {
    local code=0 text=$1
    shift
    "$@" >"$folder/output" 2>&1 || code=$?
    [ $code = 2 ] && [ "$(grep -Ec 'paf: error: |^launch/plot' "$folder/output")" = 1 ] &&
        grep -qF -- "$text" "$folder/output" && return
    fail "$*: exit code $code for 2; \"$text\" wanted: $(<"$folder/output")"
}
train() {
    launch/mpi 2 "$paf" finetune --data.task="$toy/task.ini" --data.dir="$toy" --data.vocab="$toy/vocab.txt" \
        --data.max_length=24 --model.config="$toy/model.json" --train.max_steps=2 --run.out="$folder/bad" "$@"
}
refused 'run.trace_from is 3, but the last step is 2' train --run.trace="$folder/a.json"
refused "run.trace: cannot" train --run.trace="$toy/task.ini/a.json" --run.trace_from=1
refused "run.trace: cannot" train --run.trace="$toy" --run.trace_from=1
refused 'run.trace_steps = 0: expected' train --run.trace_steps=0

cp "$folder/on.json" "$folder/a.json"
cd "$folder"
plot=$here/launch/plot-trace
refused 'launch/plot-trace: which trace? --help says more' "$plot"
refused 'launch/plot-trace: there is no option --steps; --help lists them' "$plot" --steps a.json
refused 'launch/plot-trace: --step two: expected a number' "$plot" --step two a.json
refused 'launch/plot-trace: there is no b.json' "$plot" b.json
refused 'launch/plot-trace: there is no folder nowhere' "$plot" -o nowhere/a.svg a.json
refused 'launch/plot-trace: toy is a folder, not a picture' "$plot" -o toy a.json
refused 'launch/plot-trace: a.json: no step 7 in it, but 1, 2, 3' "$plot" -o refused.svg --step 7 a.json
refused 'launch/plot-trace: toy/model.json: not a trace that paf has written' "$plot" -o refused.svg toy/model.json
echo '{"traceEvents": []}' >early.json
refused 'launch/plot-trace: early.json: no steps in it; the run' "$plot" -o refused.svg early.json
head -n 30 a.json >cut.json
refused 'launch/plot-trace: cut.json: cut off' "$plot" -o refused.svg cut.json
sed '20s/"ts": [0-9.]*, //' a.json >wrong.json
refused 'launch/plot-trace: wrong.json:20: an event without its time' "$plot" -o refused.svg wrong.json
sed '20s/.\{20\}$//' a.json >wrong.json
refused 'launch/plot-trace: wrong.json:20: not an event, or cut off' "$plot" -o refused.svg wrong.json
: >empty.json
refused 'launch/plot-trace: empty.json: cut off' "$plot" -o refused.svg empty.json
[ ! -e refused.svg ] || fail "a picture of what was refused"

exit $((failures > 0))
