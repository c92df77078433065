#!/bin/bash
# Every GLUE task at hand, real data, through the whole program: a few steps, evaluated, a submission file of the right
# length. What is learned does not matter here.
. tests/support.sh
data=${PAF_DATA:-../shared/data}
vocab=$data/vocab/bert-uncased/vocab.txt
[ -r "$data/glue/CoLA/train.tsv" ] && [ -r "$vocab" ] || { echo "no $data/glue or no $vocab" && exit 77; }
folder=$(mktemp -d)

# check TASK METRIC DEV-EXAMPLES SUBMISSION TEST-EXAMPLES
check() {
    local run=$folder/$1
    launch/mpi 2 "$paf" finetune --data.task="$1" --data.dir="$data/glue" --data.vocab="$vocab" \
        --model.config=configs/models/tiny.json --model.design=paf --train.max_steps=3 --run.out="$run" \
        >"$run.log" 2>&1 || die "$(cat "$run.log")"
    "$paf" evaluate "$run" --data.dir="$data/glue" >"$run.out" 2>"$run.log" || die "$(cat "$run.log")"
    grep -Eq "^$1 dev: $2 -?[0-9.]+.* \($3 examples" "$run.out" || die "$(cat "$run.out")"
    [ -n "${4-}" ] || return 0
    "$paf" predict "$run" --data.dir="$data/glue" >"$run.out" 2>"$run.log" || die "$(cat "$run.log")"
    [ "$(wc -l <"$run/$4")" = $(($5 + 1)) ] && [ "$(head -n 1 "$run/$4")" = $'index\tprediction' ] ||
        die "$run/$4 is not $5 predictions: $(head -n 2 "$run/$4")"
}

check cola matthews_correlation 1043 CoLA.tsv 1063
check sst2 accuracy 872 SST-2.tsv 1821
check mrpc 'accuracy [0-9.]* f1' 408 MRPC.tsv 1725
check stsb 'pearson -?[0-9.]* spearmanr' 1500 STS-B.tsv 1379
check rte accuracy 277 RTE.tsv 3000
check qqp 'accuracy [0-9.]* f1' 2000
check mnli accuracy 9815
grep -Eq $'^[0-9]+\t[0-5]\\.[0-9]{3}$' "$folder/stsb/STS-B.tsv" || die "STS-B wants three decimals"
grep -Eq $'^0\t(not_)?entailment$' "$folder/rte/RTE.tsv" || die "RTE wants words"
