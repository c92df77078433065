#!/bin/bash
# What a batch is made of: in the even order, which is not the random one, steps have like numbers of tokens; and the
# answers of a file are in the file's order, however it is sorted and cut.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"

# spread RUN: the standard deviation of the tokens of its steps, over their mean.
spread() {
    sed -n 's/.*"tokens": *\([0-9.]*\).*/\1/p' "$1/metrics.jsonl" | awk '
        { n++; sum += $1; squares += $1 * $1 }
        END { mean = sum / n; print sqrt(squares / n - mean * mean) / mean }'
}

options=(--train.max_steps=200 --train.lr=3e-3) # nine epochs, enough to learn a little
finetune 1 "$folder/even" "${options[@]}"
finetune 1 "$folder/random" "${options[@]}" --data.order=random
same_losses "$folder/even" "$folder/random" >"$folder/log" && die "the order changes nothing"
echo "tokens of a step spread by $(spread "$folder/random"), in the even order by $(spread "$folder/even")"
awk "BEGIN { exit !($(spread "$folder/even") < 0.25 * $(spread "$folder/random")) }" || die "that is not even"

echo "the same answers, whatever their order and the size of a micro-batch"
# predict NAME OPTION...: of the dev split of $data, into NAME.tsv, without the header and the numbers.
predict() {
    local name=$1
    shift
    "$paf" predict "$folder/even" --data.dir="$data" --evaluate.split=dev --evaluate.out="$folder/$name.tsv" "$@" \
        >"$folder/log" 2>&1 || die "$(cat "$folder/log")"
    tail -n +2 "$folder/$name.tsv" | cut -f 2 >"$folder/$name"
}
data=$toy predict forward
data=$toy predict cut --train.micro_tokens=40
cmp "$folder/forward" "$folder/cut"
mkdir "$folder/backward"
{ head -n 1 "$toy/dev.tsv" && tail -n +2 "$toy/dev.tsv" | tac; } >"$folder/backward/dev.tsv"
data=$folder/backward predict back
cmp "$folder/forward" <(tac "$folder/back")
[ "$(sort -u "$folder/forward" | wc -l)" -gt 1 ] || die "every answer is the same, which says nothing"
cmp -s "$folder/forward" "$folder/back" && die "the file reads the same backwards, which says nothing"
true
