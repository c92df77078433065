#!/bin/bash
# What a user may get wrong: each one message, from one rank, that says what and where, and exit code 2 (3 for damaged
# checkpoints).
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
failures=0

# refused CODE TEXT COMMAND...: ends with CODE and says, in exactly one line of error, TEXT (an extended expression).
refused() {
    local code=0 wanted=$1 text=$2
    shift 2
    "$@" >"$folder/output" 2>&1 || code=$?
    if [ $code != "$wanted" ] || [ "$(grep -c 'paf: error: ' "$folder/output")" != 1 ] ||
        ! grep -Eq "paf: error: .*$text" "$folder/output"; then
        echo "$*: exit code $code for $wanted; \"$text\" wanted:" && sed 's/^/    /' "$folder/output"
        failures=$((failures + 1))
    fi
}

# train OPTION...: the toy task on two ranks, with something wrong.
train() {
    launch/mpi 2 "$paf" finetune --data.task="$toy/task.ini" --data.dir="$toy" --data.vocab="$toy/vocab.txt" \
        --data.max_length=24 --model.config="$toy/model.json" --train.max_steps=2 --parallel.team=1+1 \
        --run.out="$folder/bad" "$@"
}

# with FILE AWK-PROGRAM: a copy of the task's folder in $folder/wrong, that file changed.
with() {
    rm -rf "$folder/wrong"
    cp -r "$toy" "$folder/wrong"
    awk "$2" "$toy/$1" >"$folder/wrong/$1"
}

echo "usage"
refused 2 'no command fintune; did you mean finetune' "$paf" fintune
refused 2 'command line: there is no option train.lrr; did you mean train.lr\?' train --train.lrr=1
refused 2 'train.batch = many: expected a whole number' train --train.batch=many
refused 2 'train.lr = -1: expected a number from 0' train --train.lr=-1
refused 2 'model.design = psf: expected one of: saf paf auto' train --model.design=psf
refused 2 'train.seed wants a value' train --train.seed
refused 2 'what is nonsense\?' train nonsense
refused 2 'data.task is not set' "$paf" finetune --data.dir="$toy"
refused 2 'evaluate wants one run or checkpoint folder' "$paf" evaluate

echo "configuration files"
printf '[train]\nbatch = 16\nbacth = 3\n' >"$folder/a.ini"
refused 2 'a.ini:3: there is no option train.bacth; did you mean train.batch\?' train --config "$folder/a.ini"
printf '[data]\n\nvocab = %0200d\n' 7 >"$folder/a.ini"
refused 2 'a.ini:3: the line has 208 characters, a configuration line may have 199' train --config "$folder/a.ini"
printf '[train]\nthis is no setting\n' >"$folder/a.ini"
refused 2 'a.ini:2: expected \[section\] or key = value' train --config "$folder/a.ini"
refused 2 'cannot open .*none.ini: No such file' train --config "$folder/none.ini"

echo "data"
refused 2 'there is no folder .*nowhere' train --data.dir="$folder/nowhere"
refused 2 'there is no task .sst3.; did you mean sst2' train --data.task=sst3
with train.tsv 'FNR == 7 { print "only one field"; next } { print }'
refused 2 'wrong/train.tsv:7: 1 field' train --data.dir="$folder/wrong"
with dev.tsv 'FNR == 5 { print "text\tz"; next } { print }'
refused 2 "wrong/dev.tsv:5: .*'?z'?.*(a, b|a b)" train --data.dir="$folder/wrong"
with train.tsv 'FNR == 1'
refused 2 'wrong/train.tsv' train --data.dir="$folder/wrong"
with vocab.txt 'FNR < 100'
refused 2 'vocab.txt has 99 pieces, but .*model.json says vocab_size' train --data.vocab="$folder/wrong/vocab.txt"
with vocab.txt '$0 != "[UNK]"'
refused 2 'vocab.txt.*\[UNK\]' train --data.vocab="$folder/wrong/vocab.txt"
refused 2 'data.max_length is 500, but the model has 32 positions' train --data.max_length=500
refused 2 'micro_tokens' train --train.micro_tokens=16

echo "invalid UTF-8 is replaced and counted"
with train.tsv 'FNR == 3 { print "ba\377ke \300\300\t" $NF; next } { print }'
train --data.dir="$folder/wrong" >"$folder/output" 2>&1 || die "$(cat "$folder/output")"
grep -q '[0-9] invalid UTF-8 sequences replaced' "$folder/output" || die "$(cat "$folder/output")"
rm -rf "$folder/bad"

echo "models"
with model.json '{ sub(/"hidden_size": 48/, "\"hidden_size\": 50"); print }'
refused 2 'hidden_size 50 is not a multiple of num_attention_heads 4' train --model.config="$folder/wrong/model.json"
with model.json '{ sub(/"gelu"/, "\"relu\""); print }'
refused 2 'hidden_act is "relu"' train --model.config="$folder/wrong/model.json"
with model.json 'FNR == 1'
refused 2 'model.json' train --model.config="$folder/wrong/model.json"

echo "layouts"
refused 2 'team=1\+2 wants 3 ranks, but there are 2; start 3, or say --parallel.team=1\+1' train --parallel.team=1+2
refused 2 'expected 1, auto, or A\+F' train --parallel.team=two
refused 2 '5 attention ranks cannot share 4 heads; a team of 6 ranks can be 4\+2' \
    launch/mpi 6 "$paf" finetune --data.task="$toy/task.ini" --data.dir="$toy" --data.vocab="$toy/vocab.txt" \
    --data.max_length=24 --model.config="$toy/model.json" --model.design=paf --parallel.team=5+1 --run.out="$folder/bad"
refused 2 'local is for a team of one rank' train --parallel.exchange=local

echo "checkpoints"
finetune 2 "$folder/run" --train.max_steps=4 --train.eval_every=2 --run.keep=2
refused 2 'holds a run already; go on with --run.resume=auto' train --run.out="$folder/run"
refused 2 'batch 16, now it is 8' train --run.out="$folder/run" --run.resume=auto --train.batch=8
refused 2 '' "$paf" evaluate "$folder/nothing" --data.dir="$toy"
refused 2 'data.dir is not set' "$paf" evaluate "$folder/run"
# every FILE-PATTERN COMMAND...: done to that file of every checkpoint of a copy of the run.
every() {
    local pattern=$1
    shift
    rm -rf "$folder/damaged"
    cp -r "$folder/run" "$folder/damaged"
    for file in "$folder"/damaged/step-*/$pattern; do "$@" "$file"; done
}
every 'shard-*' truncate -s -100
refused 3 'shard-0000' "$paf" evaluate "$folder/damaged" --data.dir="$toy"
refused 3 'shard-0000' "$paf" checkpoint verify "$folder/damaged"
every 'manifest.json' truncate -s 1000
refused 3 'manifest.json' "$paf" evaluate "$folder/damaged" --data.dir="$toy"
every 'vocab.txt' rm
refused 3 'vocab.txt' launch/mpi 2 "$paf" evaluate "$folder/damaged" --data.dir="$toy"

echo "only the newest is damaged: named, and the one before is used"
rm -rf "$folder/damaged"
cp -r "$folder/run" "$folder/damaged"
truncate -s -1 "$folder"/damaged/step-00000004/shard-00000-of-00002.h5
launch/mpi 2 "$paf" evaluate "$folder/damaged" --data.dir="$toy" --evaluate.checkpoint=latest >"$folder/output" 2>&1 ||
    die "$(cat "$folder/output")"
grep -q 'warning.*step-00000004.*shard-00000' "$folder/output" || die "$(cat "$folder/output")"

echo "two runs in one folder"
( exec 9<>"$folder/run/lock" && flock 9 &&
    refused 2 'lock is held by another process' train --run.out="$folder/run" --run.resume=auto --train.batch=16 &&
    [ $failures = 0 ] ) || failures=$((failures + 1))

[ $failures = 0 ]
