#!/bin/bash
# A masked language model as a user pretrains one: one answer on every layout and however a batch is accumulated,
# nothing lost when it is killed in the middle of a batch, bad input, and what comes after it.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
toy_text "$toy"

echo "layouts"
for design in saf paf; do
    pretrain 1 "$folder/$design-1" --model.design=$design
    for team in 1+1 1+2 2+1 2+2 3+5; do
        pretrain $((team)) "$folder/$design-$team" --model.design=$design --parallel.team=$team
        same_losses "$folder/$design-1" "$folder/$design-$team"
    done
    pretrain 3 "$folder/$design-mpi" --model.design=$design --parallel.team=1+2 --parallel.exchange=mpi
    same_losses "$folder/$design-1+2" "$folder/$design-mpi" 0
    pretrain 3 "$folder/$design-again" --model.design=$design --parallel.team=1+2 --train.recompute=layer
    same_losses "$folder/$design-1+2" "$folder/$design-again" 0
done
OMP_NUM_THREADS=2 pretrain 2 "$folder/threads" --model.design=paf
same_losses "$folder/paf-1" "$folder/threads"

echo "accumulation"
for parts in 1 2 8; do
    pretrain 2 "$folder/parts-$parts" --model.design=paf --train.accumulate=$parts
    same_losses "$folder/paf-1" "$folder/parts-$parts"
done
pretrain 2 "$folder/cut" --model.design=paf --train.micro_tokens=50
same_losses "$folder/paf-1" "$folder/cut"
pretrain 2 "$folder/tokens" --model.design=paf --train.batch_tokens=192 # 8 sequences of 24
same_losses "$folder/paf-1+1" "$folder/tokens" 0

echo "LAMB, whole words"
options=(--model.design=paf --train.optimizer=lamb --train.schedule=polynomial --train.power=0.5 --data.whole_words)
pretrain 1 "$folder/lamb-1" "${options[@]}"
pretrain 4 "$folder/lamb-4" "${options[@]}" --parallel.team=1+3 --train.accumulate=4
same_losses "$folder/lamb-1" "$folder/lamb-4"
same_losses "$folder/paf-1" "$folder/lamb-1" >"$folder/log" && die "whole words and LAMB change nothing"

echo "killed in the middle of a batch"
steps=60
options=(--model.design=paf --train.max_steps=$steps --train.accumulate=8 --train.eval_every=20)
lines() { losses "$1" 2>/dev/null | wc -l || true; }
pretrain 2 "$folder/whole" "${options[@]}"
start_pretrain 2 "$folder/killed" "${options[@]}" --run.checkpoint_every=7
while [ "$(lines "$folder/killed")" -lt 25 ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.01; done
sleep 0.013 # into the next step
pkill -KILL -n -f "^$paf pretrain .*--run.out=$folder/killed " || true
wait $launcher && die "the killed run ended well"
[ "$(lines "$folder/killed")" -lt $steps ] || die "the run was over before it could be killed"
pretrain 2 "$folder/killed" "${options[@]}" --run.resume=auto
grep -q "resumed from" "$folder/killed.log" || die "it began anew"
same_losses "$folder/whole" "$folder/killed" 0
heldout() { grep heldout "$1/metrics.jsonl"; }
diff <(heldout "$folder/whole") <(heldout "$folder/killed")
[ "$(heldout "$folder/whole" | wc -l)" = 3 ] || die "three evaluations wanted: $(heldout "$folder/whole")"
grep -q '"task": *"masked_lm"' "$folder/whole/results.json" || die "$(cat "$folder/whole/results.json")"
grep -q 'memory at most' "$folder/whole.log" || die "it does not say what memory it took"

echo "resumed on another layout"
cp -r "$folder/whole" "$folder/moved"
pretrain 5 "$folder/moved" "${options[@]}" --parallel.team=3+2 --train.max_steps=70 --run.resume=auto
pretrain 1 "$folder/whole" "${options[@]}" --train.max_steps=70 --run.resume=auto
same_losses "$folder/whole" "$folder/moved"

echo "fine-tuned from it, with its model and vocabulary"
finetune 2 "$folder/tuned" --model.init="$folder/whole" --model.config= --data.vocab= --train.max_steps=3
grep -q "started from $folder/whole/step-" "$folder/tuned.log" || die "$(cat "$folder/tuned.log")"
finetune 2 "$folder/fresh" --model.design=paf --train.max_steps=3
same_losses "$folder/tuned" "$folder/fresh" >"$folder/log" && die "what was pretrained is not there"

echo "RoBERTa's family, with byte-level BPE"
"$paf" vocab --vocab.kind=bpe --vocab.size=320 --vocab.output="$folder/bpe" "$toy/train.txt" >"$folder/log" 2>&1
"$paf" tokenize --tokenize.vocab="$folder/bpe" --tokenize.output="$folder/bpe-tokens" --tokenize.heldout=0.2 \
    "$toy/text.txt" >"$folder/log" 2>&1
pieces=$(grep -o '"[^"]*": *[0-9]*' "$folder/bpe/vocab.json" | wc -l)
sed -e 's/"bert"/"roberta"/' -e "s/\"vocab_size\": [0-9]*/\"vocab_size\": $pieces/" -e 's/1e-12/1e-5/' \
    -e 's/"type_vocab_size": 2/"type_vocab_size": 1/' \
    -e 's/"max_position_embeddings": 32/"max_position_embeddings": 34/' "$toy/model.json" >"$folder/roberta.json"
options=(--data.tokens="$folder/bpe-tokens" --data.vocab="$folder/bpe" --model.config="$folder/roberta.json"
    --model.design=paf --data.length=32)
pretrain 1 "$folder/roberta-1" "${options[@]}"
pretrain 3 "$folder/roberta-3" "${options[@]}" --parallel.team=1+2 --data.whole_words
same_losses "$folder/roberta-1" "$folder/roberta-3" >"$folder/log" && die "whole words change nothing"
pretrain 3 "$folder/roberta-again" "${options[@]}" --parallel.team=1+2
same_losses "$folder/roberta-1" "$folder/roberta-again"
for ranks in 1 4; do
    finetune $ranks "$folder/roberta-tuned-$ranks" --model.init="$folder/roberta-1" --model.config= --data.vocab=
done
same_losses "$folder/roberta-tuned-1" "$folder/roberta-tuned-4"
"$paf" checkpoint show "$folder/roberta-tuned-1" >"$folder/log"
grep -q 'classifier.out_proj.weight' "$folder/log" || die "$(cat "$folder/log")"
launch/mpi 2 "$paf" evaluate "$folder/roberta-tuned-1" --data.dir="$toy" >"$folder/log" 2>&1 ||
    die "$(cat "$folder/log")"

# refused CODE TEXT OPTION...: pretraining ends with CODE and one line of error that matches TEXT.
refused() {
    local code=0 wanted=$1 text=$2
    shift 2
    pretrain 2 "$folder/bad" "$@" 2>"$folder/err" || code=1
    [ $code = 0 ] || { code=0 && wait $launcher || code=$?; }
    if [ $code != "$wanted" ] || [ "$(grep -c 'paf: error: ' "$folder/bad.log")" != 1 ] ||
        ! grep -Eq "paf: error: .*$text" "$folder/bad.log"; then
        echo "$*: exit code $code for $wanted; \"$text\" wanted:" && sed 's/^/    /' "$folder/bad.log"
        failures=$((failures + 1))
    fi
}

echo "bad input"
failures=0
refused 2 'data.tokens is not set' --data.tokens=
refused 2 'nowhere/train.*(No such file|no token shards)' --data.tokens="$folder/nowhere"
{ cat "$toy/vocab.txt" | tail -n +6 | sort -r | cat <(head -n 5 "$toy/vocab.txt") -; } >"$folder/vocab.txt"
refused 2 "the vocabulary is not the shards'" --data.vocab="$folder/vocab.txt"
refused 2 "the vocabulary is not the shards'" --data.lower_case=off
refused 2 'does not divide into train.accumulate 3 parts; 2 or 4 parts would do, or a batch of 6 or 9' \
    --train.accumulate=3
refused 2 'train.accumulate 9 is more than the 8 sequences of a step' --train.accumulate=9
refused 2 'train.batch_tokens 100 is not a multiple of data.length 24; 96 or 120 would be' --train.batch_tokens=100
refused 2 'train.micro_tokens is 16, but a sequence has up to' --train.micro_tokens=16
refused 2 'data.length is 200, but the model has 32 positions' --data.length=200
refused 2 'GiB, but it has .* GiB free' --train.micro_tokens=16000000 --train.batch=1000000
refused 2 'holds a run of another kind' --run.out="$folder/tuned" --run.resume=auto
refused 2 'holds a run already' --run.out="$folder/whole"
refused 2 'begun with another data.mask' --run.out="$folder/whole" --run.resume=auto --data.mask=0.2
refused 2 'begun with train.batch 8, now it is 16' --run.out="$folder/whole" --run.resume=auto --train.batch=16
cp -r "$toy/tokens" "$folder/cut-off"
truncate -s -100 "$folder/cut-off/train/shard-00000.h5"
refused 2 'train/shard-00000.h5 is cut off: it has [0-9]+ bytes, not' --data.tokens="$folder/cut-off"
cp -r "$toy/tokens" "$folder/spoilt"
printf 'x' | dd of="$folder/spoilt/train/shard-00000.h5" bs=1 seek=3000 conv=notrunc 2>/dev/null
refused 2 'train/shard-00000.h5 does not match its checksum' --data.tokens="$folder/spoilt"
mkdir "$folder/no-heldout"
cp -r "$toy/tokens/train" "$folder/no-heldout"
refused 2 'no-heldout has no held-out part' --data.tokens="$folder/no-heldout"
[ "$(grep -c '^mask = 0.15' "$folder/whole/config.ini")" = 1 ] || die "a refused run has changed config.ini"
code=0
"$paf" evaluate "$folder/whole" --data.dir="$toy" >"$folder/log" 2>&1 || code=$?
[ $code = 2 ] && grep -q 'a pretrained model, which knows no task' "$folder/log" || die "$code: $(cat "$folder/log")"
code=0
finetune 1 "$folder/bad" --model.init="$folder/whole" --data.vocab="$folder/vocab.txt" 2>/dev/null || code=1
grep -q 'is not what .* was trained with' "$folder/bad.log" || die "$(cat "$folder/bad.log")"
[ $failures = 0 ]
