#!/bin/bash
# A run that is asked to stop may be asked anywhere, and as often as one likes: signals that arrive in the middle of
# matrix products change nothing that these compute.
. tests/support.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
toy=$folder/toy
toy_task "$toy"
options=(--train.max_steps=8 --train.batch=3000 --train.micro_tokens=512 --train.eval_every=100)

finetune 1 "$folder/whole" "${options[@]}"

start 1 "$folder/asked" "${options[@]}"
until [ -s "$folder/asked/config.ini" ] || ! kill -0 "$launcher" 2>/dev/null; do sleep 0.02; done
sleep 0.3 # into the first step
sent=0
while pkill -USR1 -f "^$paf finetune .*--run.out=$folder/asked " && kill -0 "$launcher" 2>/dev/null; do
    sent=$((sent + 1))
done
code=0
wait $launcher || code=$?
[ $code = 0 ] || die "exit code $code after $sent signals: $(cat "$folder/asked.log")"
grep -q 'asked to stop: saved at step [1-7] of 8' "$folder/asked.log" || die "$sent signals: $(cat "$folder/asked.log")"
[ $sent -ge 10 ] || die "the step was over after $sent signals"
finetune 1 "$folder/asked" "${options[@]}" --run.resume=auto
same_losses "$folder/whole" "$folder/asked" 0
