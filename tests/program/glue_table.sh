#!/bin/bash
# paf glue: a list of runs, cut off twice and gone on with, ends in the same table as one that was left alone; the table
# is what its runs' results say; other settings are refused; submission files come from the best seeds.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"

# The toy's sentences in the form of GLUE's MRPC, RTE, MNLI and diagnostic set: pairs whose first text says nothing.
data=$folder/glue
mkdir -p "$data"/{MRPC,RTE,MNLI,diagnostic}
awk -F '\t' -v OFS='\t' -v data="$data" '
    function put(row, file,    header) {
        header = row
        gsub(/[^\t]+/, "name", header)
        if (!(file in seen)) print header > (data file)
        seen[file] = 1
        print row > (data file)
    }
    FNR == 1 { next }
    {
        name = FILENAME ~ /train/ ? "train" : "dev"
        which = FNR % 2 ? "matched" : "mismatched"
        n = FNR - 2
        pair = "bake" OFS $1
        eight = "-\t-\t-\t-\t-\t-\t-\t-"
        word = $2 == "a" ? "entailment" : $2 == "b" ? "neutral" : "contradiction"
        put(($2 == "a") OFS "1\t2" OFS pair, "/MRPC/" name ".tsv")
        put(n OFS pair OFS ($2 == "b" ? "" : "not_") "entailment", "/RTE/" name ".tsv")
        if (name == "train") put(eight OFS pair OFS "-" OFS word, "/MNLI/train.tsv")
        else {
            put(eight OFS pair OFS "-\t-\t-\t-\t-" OFS word, "/MNLI/dev_" which ".tsv")
            put(eight OFS pair, "/MNLI/test_" which ".tsv")
            put(n OFS pair, "/RTE/test.tsv")
            put(n OFS pair, "/diagnostic/diagnostic.tsv")
            put(n OFS "1\t2" OFS pair, "/MRPC/test.tsv")
        }
    }
' "$toy/train.tsv" "$toy/dev.tsv"

# glue OUT OPTION...: a list on two ranks; what it prints goes into OUT.log. start_glue: in the background, $launcher.
glue() { start_glue "$@" && { wait $launcher || { sed "s|^|$1: |" "$1.log" >&2 && return 1; }; }; }
start_glue() {
    local out=$1
    shift
    launch/mpi 2 "$paf" glue --data.dir="$data" --data.vocab="$toy/vocab.txt" --data.max_length=32 \
        --model.config="$toy/model.json" --train.batch=16 --train.lr=3e-3 --run.out="$out" "$@" >"$out.log" 2>&1 &
    launcher=$!
}

# refused MESSAGE OPTION...: exit code 2, one message, and no run was begun.
refused() {
    local message=$1 code=0
    shift
    start_glue "$folder/refused" "$@"
    wait $launcher || code=$?
    [ $code = 2 ] || die "not refused: $*"
    grep -Eq "$message" "$folder/refused.log" || die "not '$message': $(cat "$folder/refused.log")"
    [ "$(wc -l <"$folder/refused.log")" = 1 ] || die "more than one message: $(cat "$folder/refused.log")"
    [ ! -e "$folder/refused" ] || die "it began: $*"
}

echo "bad lists are told before any run"
refused "there is no task 'rtee'; did you mean rte" --glue.tasks=mrpc,rtee
refused "there is no design 'pav'" --glue.tasks=mrpc --glue.designs=saf,pav
refused 'glue.seeds = 0: expected a whole number' --glue.tasks=mrpc --glue.seeds=0
refused 'ax has no training data' --glue.tasks=mrpc,ax
refused 'wants mnli among' --glue.tasks=mrpc,rte --glue.intermediate=mnli
refused 'nowhere-rte.ini' --glue.tasks=rte --glue.recipes="$folder/nowhere"
refused 'CoLA/train.tsv' --glue.tasks=mrpc,cola
for family in bert-large roberta-large; do # all their recipes are good: it is the data that is not there
    refused 'CoLA/train.tsv' --glue.recipes=configs/finetune/$family
done
refused 'what is stray' --glue.tasks=mrpc stray
refused 'run.trace: every run of the list' --glue.tasks=mrpc --run.trace="$folder/trace.json"
printf '[glue]\nseeds = 2\n' >"$folder/wrong.ini"
printf '[run]\nkeep = 2\nout = elsewhere\n' >"$folder/wrong-rte.ini"
refused "wrong.ini:2: glue.seeds is the whole list's" --glue.tasks=rte --glue.recipes="$folder/wrong"
rm "$folder/wrong.ini"
refused "wrong-rte.ini:3: run.out is the whole list's" --glue.tasks=rte --glue.recipes="$folder/wrong"

echo "a list from beginning to end, by recipes"
printf '[train]\nmax_steps = 60\neval_every = 10\nwarmup = 0.2\n' >"$folder/recipe.ini"
printf '[train]\nwarmup = 0.1\n' >"$folder/recipe-mrpc.ini"
printf '[data]\ntask = rte\n[train]\nmax_steps = 40\nlr = 0.1\n' >"$folder/recipe-rte.ini"
list=("--glue.tasks=mrpc,rte" --glue.seeds=3 --glue.recipes="$folder/recipe")
glue "$folder/whole" "${list[@]}"
has() { grep -Eq "^$2 = $3\$" "$folder/whole/$1/config.ini" || die "$1 without $2 = $3"; }
has mrpc-saf-1 max_steps 60 && has mrpc-saf-1 warmup 0.1 && has mrpc-saf-1 lr 0.003
has rte-paf-3 max_steps 40 && has rte-paf-3 warmup 0.2 && has rte-paf-3 lr 0.003 && has rte-paf-3 seed 3
has rte-paf-3 design paf && has rte-saf-3 design saf

# value RUN METRIC: of the best evaluation
value() { awk -v key="\"$2\":" '/"last"/ { exit } $1 == key { sub(/,/, "", $2); print $2 }' "$1/results.json"; }

# The table once more: of three values the one in the middle, the least and the largest.
recompute() {
    local metric design seed
    for metric in "$@"; do
        printf '%s' "${metric/ /,}"
        for design in saf paf; do
            for seed in 1 2 3; do value "$folder/whole/${metric% *}-$design-$seed" "${metric#* }"; done |
                sort -g | tr '\n' ' ' | awk '{ printf ",%d,%s,%s,%s", NF, $2, $1, $3 }'
        done
        echo
    done
}
recompute 'mrpc accuracy' 'mrpc f1' 'rte accuracy' | awk -F , '
    BEGIN {
        printf "task,metric,saf_runs,saf_median,saf_least,saf_largest,"
        print "paf_runs,paf_median,paf_least,paf_largest"
    }
    {
        printf "%s,%s,%d,%.6f,%.6f,%.6f,%d,%.6f,%.6f,%.6f\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
        saf += $4 * ($1 == "rte" ? 2 : 1) / 4
        paf += $8 * ($1 == "rte" ? 2 : 1) / 4
    }
    END { printf "average,tasks 2,,%.6f,,,,%.6f,,\n", saf, paf }' >"$folder/expected"
cut -d , -f 1-10 "$folder/whole/table.csv" | diff "$folder/expected" - || die "the table is not what the results say"
awk -F , 'NR > 1 && ($11 - ($8 - $4)) ^ 2 > 4e-12 { exit 1 }' "$folder/whole/table.csv" || die "wrong differences"
# The other two forms have the same numbers, in percent.
numbers() { grep -Eo '[-+]?[0-9]+\.[0-9]{2}' "$1"; }
diff <(numbers "$folder/whole/table.md") <(sed -n '/^task/h; /^task/!H; $ { x; p }' "$folder/whole.log" |
    grep -E '^(mrpc|rte|average) ' | numbers /dev/stdin) || die "table.md is not what was printed"
awk -F , 'NR > 1 { printf "%.2f\n%.2f\n", 100 * $4, 100 * $8 }' "$folder/whole/table.csv" >"$folder/medians"
awk -F '|' 'NR > 4 { printf "%.2f\n%.2f\n", $4, $6 }' "$folder/whole/table.md" | paste "$folder/medians" - |
    awk 'NF != 2 || ($1 - $2) ^ 2 > 0.011 ^ 2 { exit 1 }' || die "table.md and table.csv differ"
sed -n 1p "$folder/whole/table.md" | grep -q 'best evaluation' || die "table.md does not say what it is of"

echo "of each run the best checkpoint is kept, without moments"
for run in "$folder"/whole/*-*-[123]; do
    [ "$(find "$run" -name 'step-*' | wc -l)" = 1 ] || die "$(ls "$run")"
    step=$(awk '$1 == "\"step\":" { print $2 + 0; exit }' "$run/results.json")
    [ "$(cat "$run/best")" = "$(printf 'step-%08d' "$step")" ] || die "$run: the best is not step $step"
    [ -d "$run/$(cat "$run/best")" ] || die "$run: the best is gone"
done
glue "$folder/all" --glue.tasks=rte --glue.seeds=1 --glue.designs=paf --glue.recipes="$folder/recipe" --glue.keep=all
size() { du -sb "$1"/step-*/shard-00000-of-00002.h5 | sort -n | head -n 1 | cut -f 1; }
[ $((2 * $(size "$folder/whole/rte-paf-1"))) -lt "$(size "$folder/all/rte-paf-1")" ] || die "moments were kept"
evaluated() { "$paf" evaluate "$folder/$1/rte-paf-1" --data.dir="$data" 2>/dev/null; }
diff <(evaluated whole) <(evaluated all) || die "it is not the same model"
warned() { "$paf" evaluate "$folder/all/rte-paf-1" --data.dir="$data" 2>&1 >"$folder/log" | grep "${1-at hand}"; }
warned && die "a warning without a reason"
sed -i '0,/"step"/s/"step": [0-9]*/"step": 99/' "$folder/all/rte-paf-1/results.json" # as if it had not been saved
warned 'results.json has step 99 as the best, but' || die "an older checkpoint passed for the best"

echo "a run that was cut off before it was tidied is tidied, though it has a single checkpoint"
single=(--glue.tasks=rte --glue.seeds=1 --glue.designs=paf --train.max_steps=2)
glue "$folder/single" "${single[@]}" --glue.keep=all
before=$(size "$folder/single/rte-paf-1")
[ "$(find "$folder/single/rte-paf-1" -name 'step-*' | wc -l)" = 1 ] || die "$(ls "$folder/single/rte-paf-1")"
glue "$folder/single" "${single[@]}"
[ $((2 * $(size "$folder/single/rte-paf-1"))) -lt "$before" ] || die "moments were kept"

echo "finished runs are not run again; other settings are refused, another layout is not"
results() { cat "$folder"/whole/*/results.json "$folder"/whole/table.* | cksum; }
before=$(results)
glue "$folder/whole" "${list[@]}" --parallel.team=1+1 --train.micro_tokens=2048
[ "$(grep -c 'finished before' "$folder/whole.log")" = 12 ] || die "$(cat "$folder/whole.log")"
[ "$(results)" = "$before" ] || die "something has changed"
other() {
    if glue "$folder/whole" "${list[@]}" "$2" 2>/dev/null; then die "not refused: $2"; fi
    grep -Eq "$1" "$folder/whole.log" || die "$(cat "$folder/whole.log")"
}
other 'mrpc-saf-1 was made with train.lr = 0.003, now it is 0.002; .*--run.out' --train.lr=2e-3
other 'was made with model.init = \(none\), now it is .*/all' --glue.init_saf="$folder/all/rte-paf-1"
other 'train.max_steps = 60, now it is 61' --train.max_steps=61

# wait_for RUN N: until that run has told N steps.
wait_for() {
    while [ "$(losses "$1" 2>/dev/null | wc -l)" -lt "$2" ] && kill -0 $launcher 2>/dev/null; do sleep 0.02; done
}

echo "a rank killed in the middle, then TERM, then to the end: the same table, the same losses"
start_glue "$folder/cut" "${list[@]}"
wait_for "$folder/cut/mrpc-paf-2" 15
kill -KILL "$(pgrep -P "$(pgrep -P $launcher)" | tail -n 1)"
wait $launcher && die "the killed list ended well"
[ ! -e "$folder/cut/mrpc-paf-2/results.json" ] || die "the run was over before it could be killed"
if glue "$folder/cut" "${list[@]}" --train.beta1=0.8 2>/dev/null; then die "not refused: --train.beta1=0.8"; fi
start_glue "$folder/cut" "${list[@]}"
wait_for "$folder/cut/rte-saf-2" 8
kill -TERM $launcher
wait $launcher || die "exit code $? after TERM: $(cat "$folder/cut.log")"
[ "$(grep -c 'finished before' "$folder/cut.log")" = 4 ] || die "$(cat "$folder/cut.log")"
grep -q 'resumed from .*mrpc-paf-2/step-' "$folder/cut.log" || die "mrpc-paf-2 began anew"
grep -Eq '^[78] of 12 runs are finished; the same command goes on' "$folder/cut.log" || die "$(cat "$folder/cut.log")"
[ ! -e "$folder/cut/rte-paf-1" ] || die "the list went on after TERM"
glue "$folder/cut" "${list[@]}"
diff "$folder/whole/table.csv" "$folder/cut/table.csv" || die "another table"
for run in mrpc-paf-2 rte-saf-2 rte-paf-3; do same_losses "$folder/whole/$run" "$folder/cut/$run" 0; done

echo "MNLI first, its two parts, RTE from it, and submission files by the better seed"
glue "$folder/from" --glue.tasks=rte,mnli --glue.designs=paf --glue.seeds=2 --glue.intermediate=mnli --glue.predict=on \
    --train.max_steps=60 --train.eval_every=4 --train.warmup=0.1
grep '^run ' "$folder/from.log" | cut -d ' ' -f 5-8 |
    diff - <(printf '%s, paf, seed %d\n' mnli 1 mnli 2 rte 1 rte 2) || die "in another order"
grep -q "started from $folder/from/mnli-paf-2/step-" "$folder/from.log" || die "RTE did not start from MNLI"
cut -d , -f 1-3 "$folder/from/table.csv" | diff - <(printf '%s\n' task,metric,paf_runs rte,accuracy,2 \
    mnli-m,accuracy,2 mnli-mm,accuracy,2 'average,tasks 2,') || die "wrong rows"
[ "$(ls "$folder/from/submission-paf")" = "$(printf '%s\n' AX.tsv MNLI-m.tsv MNLI-mm.tsv RTE.tsv)" ] ||
    die "$(ls "$folder/from/submission-paf")"
better() { printf '%s ' "$(value "$folder/from/$1-1" accuracy)" "$(value "$folder/from/$1-2" accuracy)" |
    awk '{ print ($2 > $1 ? 2 : 1) }'; }
for seed in 1 2; do
    run=$folder/from/mnli-paf-$seed
    launch/mpi 2 "$paf" evaluate "$run" --data.dir="$data" --evaluate.split=dev_mismatched \
        --evaluate.out="$folder/mm" >/dev/null 2>&1
    diff <(grep loss "$folder/mm") <(grep loss "$run/dev_mismatched.json") || die "dev_mismatched is not of the best"
done
run=$folder/from/mnli-paf-$(better mnli-paf)
"$paf" predict "$run" --data.dir="$data" >/dev/null 2>&1
"$paf" predict "$run" --data.dir="$data" --evaluate.task=ax >/dev/null 2>&1
"$paf" predict "$folder/from/rte-paf-$(better rte-paf)" --data.dir="$data" --evaluate.out="$run/RTE.tsv" >/dev/null 2>&1
for file in AX.tsv MNLI-m.tsv MNLI-mm.tsv RTE.tsv; do
    diff "$run/$file" "$folder/from/submission-paf/$file" || die "$file is of another model"
done
"$paf" predict "$run" --data.dir="$data" --evaluate.task=rte >"$folder/log" 2>&1 && die "MNLI's model answered RTE"
grep -q 'the labels of rte are not those of mnli' "$folder/log" || die "$(cat "$folder/log")"
