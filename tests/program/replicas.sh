#!/bin/bash
# One answer, over replicas and stages: losses and gradient norms of 20 steps are those of one rank, for pretraining and
# for fine-tuning; to the bit where only who updates differs; and what one layout has saved another goes on with.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
toy_text "$toy"

layout() { layout_options=(--parallel.replicas=$1 --parallel.stages=$2 --parallel.team=$3 --parallel.zero=${4:-0}); }
ranks_of() { echo $(($1 * $2 * ($3))); }

# COMMAND NAME REPLICAS STAGES TEAM ZERO MORE...: a run, whose losses are those of NAME-one.
same_as_one() {
    local command=$1 name=$2 run=$folder/$2-$3-$4-$5-$6
    layout "$3" "$4" "$5" "$6"
    "$command" "$(ranks_of "$3" "$4" "$5")" "$run" "${layout_options[@]}" "${@:7}"
    same_losses "$folder/$name-one" "$run"
}

echo "pretraining"
for design in saf paf; do
    options=(--model.design=$design --train.accumulate=4)
    pretrain 1 "$folder/$design-one" "${options[@]}"
    for layout in "2 1 1 0" "2 1 1 1" "3 1 1 0" "1 2 1 0" "1 3 1 0" "2 2 1 0" "2 2 1+1 0" "2 2 1+1 1" \
        "2 1 1+2 1"; do
        same_as_one pretrain $design $layout "${options[@]}"
    done
    same_losses "$folder/$design-2-1-1-0" "$folder/$design-2-1-1-1" 1e-13 # the norm is summed in another order
    same_as_one pretrain $design 1 2 2+1 0 "${options[@]}" --parallel.exchange=mpi --train.recompute=layer
done
heldout() { grep heldout "$1/metrics.jsonl" | grep -o '"perplexity": *[0-9.]\{6\}'; }
for run in "$folder"/paf-*-*-*-*/; do
    [ "$(heldout "$folder/paf-one")" = "$(heldout "$run")" ] || die "$run: $(heldout "$run")"
done

echo "fine-tuning"
options=(--model.design=paf --train.micro_tokens=60)
finetune 1 "$folder/toy-one" "${options[@]}"
for layout in "2 1 1 0" "1 2 1+1 0" "3 2 1 1" "16 1 1 0"; do # 16 examples a step, one for each replica
    same_as_one finetune toy $layout "${options[@]}"
done
accuracy() { tr -d ' \n' <"$1/results.json" | grep -o '"metrics":{[^}]*}' | head -1; }
[[ $(accuracy "$folder/toy-one") = *accuracy* ]] || die "$(cat "$folder/toy-one/results.json")"
[ "$(accuracy "$folder/toy-one")" = "$(accuracy "$folder/toy-3-2-1-1")" ] || die "other predictions"
for team in 1 1+1; do
    layout 2 2 $team
    launch/mpi $(ranks_of 2 2 $team) "$paf" evaluate "$folder/toy-one" --data.dir="$toy" "${layout_options[@]}" \
        >"$folder/output" 2>&1 || die "$(cat "$folder/output")"
    grep 'toy dev:' "$folder/output" >>"$folder/evaluations"
done
[ "$(sort -u "$folder/evaluations" | wc -l)" = 1 ] || die "$(cat "$folder/evaluations")"

echo "LAMB"
options=(--model.design=paf --train.accumulate=2 --train.optimizer=lamb --train.weight_decay=0.01)
pretrain 1 "$folder/lamb-one" "${options[@]}"
for layout in "2 2 1+1 0" "2 2 1+1 1" "3 1 2+1 1"; do same_as_one pretrain lamb $layout "${options[@]}"; done

echo "one goes on with what another has saved"
options=(--model.design=paf --train.accumulate=4)
goes_on() { # REPLICAS STAGES TEAM ZERO, to the next four
    local run=$folder/$1-$2-$3-$4-to-$5-$6-$7-$8
    layout "$1" "$2" "$3" "$4"
    pretrain "$(ranks_of "$1" "$2" "$3")" "$run" "${options[@]}" "${layout_options[@]}" --train.max_steps=9 \
        --train.schedule=constant
    layout "$5" "$6" "$7" "$8"
    pretrain "$(ranks_of "$5" "$6" "$7")" "$run" "${options[@]}" "${layout_options[@]}" --run.resume=auto \
        --train.schedule=constant
    grep -q 'resumed from' "$run.log" || die "it began anew"
    same_losses "$folder/constant" "$run"
}
pretrain 1 "$folder/constant" "${options[@]}" --train.schedule=constant
goes_on 1 1 1 0 2 2 1+1 1
goes_on 2 2 1+1 1 1 1 1 0
goes_on 2 1 1 1 1 3 1 0
goes_on 1 2 1+1 0 3 1 1 1
"$paf" checkpoint verify "$folder/2-2-1+1-1-to-1-1-1-0" >"$folder/output" || die "$(cat "$folder/output")"

echo "a rank is killed"
killed() { # REPLICAS STAGES TEAM ZERO OPTION...
    local run=$folder/killed-$1-$2-${3/+/and}-$4
    layout "$1" "$2" "$3" "$4"
    start_pretrain "$(ranks_of "$1" "$2" "$3")" "$run" "${layout_options[@]}" "${@:5}" --run.checkpoint_every=3
    while [ "$(losses "$run" 2>/dev/null | wc -l)" -lt 7 ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.01; done
    pkill -KILL -n -f "^$paf pretrain .*--run.out=$run " || true
    wait $launcher && die "the killed run ended well"
    pretrain "$(ranks_of "$1" "$2" "$3")" "$run" "${layout_options[@]}" "${@:5}" --run.resume=auto
    grep -q 'resumed from' "$run.log" || die "it began anew"
    same_losses "$folder/long" "$run"
}
options=(--model.design=paf --train.accumulate=4 --train.max_steps=60)
pretrain 1 "$folder/long" "${options[@]}"
killed 2 2 1 1 "${options[@]}"
killed 1 1 1+2 0 "${options[@]}" --parallel.ffn=pblas

echo "over virtual hosts"
code=0
launch/hosts 2 true 2>"$folder/refusal" || code=$?
[ $code = 0 ] || { [ $code = 2 ] && sed 's/^/skipped: /' "$folder/refusal"; }
if [ $code = 0 ]; then
    over=(launch/hosts 2)
    ln -s paf-one "$folder/far-one"
    for layout in "1 1 1+1 0" "2 1 1 0" "2 1 1 1" "1 2 1 0" "2 2 1+1 1"; do
        same_as_one pretrain far $layout --model.design=paf --train.accumulate=4
    done
    same_as_one pretrain far 1 1 1+4 0 --model.design=paf --train.accumulate=4 --parallel.ffn=pblas
    killed 2 1 1 0 "${options[@]}"
    over=()
fi

echo "started from another's weights, all of them are used"
layout 2 2 1
finetune 4 "$folder/from" --model.design=paf --model.init="$folder/paf-2-2-1-0" "${layout_options[@]}"
for line in 'new, as initialised: pooler.dense.weight and 3 more' \
    'not used: cls.predictions.transform.dense.weight and 4 more'; do
    grep -q "$line" "$folder/from.log" || die "$(cat "$folder/from.log")"
done

echo "layouts that cannot be"
run() { "$1" "$2" "$folder/wrong" --model.design=paf "${layout_options[@]}"; }
cannot() { # COMMAND RANKS MESSAGE
    rm -rf "$folder/wrong"
    run "$1" "$2" >/dev/null 2>&1 && die "it ran"
    grep -q -- "$3" "$folder/wrong.log" || die "not '$3': $(cat "$folder/wrong.log")"
    [ "$(grep -c 'paf: error' "$folder/wrong.log")" = 1 ] || die "$(cat "$folder/wrong.log")"
}
layout 2 1 1
cannot pretrain 3 'start 2'
layout 2 2 1+1
cannot finetune 4 'are 8 ranks, but there are 4; start 8'
layout 1 4 1
cannot pretrain 4 'parallel.stages is 4, but the model has 3 layers'
