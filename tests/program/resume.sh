#!/bin/bash
# Nothing is lost: a run that is killed, anywhere, or asked to stop, goes on from its newest checkpoint with the same
# losses to the bit; on another layout, to rounding. Any ranks read what any ranks wrote.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
steps=120
options=(--train.max_steps=$steps --parallel.team=1+1 --parallel.balance=off)

lines() { losses "$1" 2>/dev/null | wc -l || true; }

# wait_for_line RUN N: until the run has told N steps, or ended.
wait_for_line() {
    while [ "$(lines "$1")" -lt "$2" ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.02; done
}

# kill_a_rank RUN: SIGKILL to one of the run's ranks.
kill_a_rank() { pkill -KILL -n -f "^$paf finetune .*--run.out=$1 " || true; }

# What ranks share in memory goes with the run, however it ends.
nothing_left() {
    [ -z "$(find /dev/shm "${TMPDIR:-/tmp}" -maxdepth 1 -name "paf-mpi-$launcher-*")" ] || die "$(ls -R /dev/shm)"
}

finetune 2 "$folder/whole" "${options[@]}"

echo "one rank killed between checkpoints"
start 2 "$folder/killed" "${options[@]}" --run.checkpoint_every=25
wait_for_line "$folder/killed" 60
kill_a_rank "$folder/killed"
wait $launcher && die "the killed run ended well"
nothing_left
[ "$(lines "$folder/killed")" -lt $steps ] || die "the run was over before it could be killed"
finetune 2 "$folder/killed" "${options[@]}" --run.resume=auto
grep -q "resumed from" "$folder/killed.log" || die "it began anew"
same_losses "$folder/whole" "$folder/killed" 0

echo "killed again and again, with a checkpoint every step, so that most kills meet one being written"
kills=0
until [ -e "$folder/often/results.json" ]; do
    start 2 "$folder/often" "${options[@]}" --run.checkpoint_every=1 --run.resume=auto
    at=$(lines "$folder/often")
    wait_for_line "$folder/often" $((at + 15))
    if [ "$(lines "$folder/often")" -lt $steps ]; then
        sleep 0.0$((kills * 7 % 10))
        kill_a_rank "$folder/often"
        kills=$((kills + 1))
    fi
    wait $launcher || true
    nothing_left
    [ $kills -lt 60 ] || die "it does not get on"
done
echo "$kills kills"
[ $kills -ge 3 ] || die "too few kills to mean anything"
same_losses "$folder/whole" "$folder/often" 0
"$paf" checkpoint verify "$folder/often" >"$folder/verify.log" || die "$(cat "$folder/verify.log")"

echo "TERM to launch/mpi: saves, exits 0"
start 2 "$folder/stopped" "${options[@]}"
wait_for_line "$folder/stopped" 40
kill -TERM $launcher
wait $launcher || die "exit code $? after TERM: $(cat "$folder/stopped.log")"
nothing_left
[ ! -e "$folder/stopped/results.json" ] || die "the run was over before it could be stopped"
finetune 2 "$folder/stopped" "${options[@]}" --run.resume=auto
same_losses "$folder/whole" "$folder/stopped" 0

echo "resumed on other layouts"
for team in 1 2+1 3+5; do
    cp -r "$folder/stopped" "$folder/moved-$team"
    ranks=$((team))
    finetune $ranks "$folder/moved-$team" "${options[@]}" --train.max_steps=140 --run.resume=auto \
        --parallel.team=$team --parallel.balance=on
done
same_losses "$folder/moved-1" "$folder/moved-2+1"
same_losses "$folder/moved-1" "$folder/moved-3+5"
[ "$(lines "$folder/moved-1")" -eq 140 ] || die "140 steps wanted"

echo "saved on 2+2, read by others"
finetune 4 "$folder/four" --parallel.team=2+2
for team in 1 1+1 2+2 3+5; do
    launch/mpi $((team)) "$paf" predict "$folder/four" --data.dir="$toy" --evaluate.split=dev --parallel.team=$team \
        --evaluate.out="$folder/predictions-$team.tsv" >"$folder/predict.log" 2>&1 || die "$(cat "$folder/predict.log")"
    launch/mpi $((team)) "$paf" evaluate "$folder/four" --data.dir="$toy" --parallel.team=$team \
        --evaluate.out="$folder/evaluation-$team.json" >"$folder/evaluate.log" 2>&1 ||
        die "$(cat "$folder/evaluate.log")"
    cmp "$folder/predictions-1.tsv" "$folder/predictions-$team.tsv"
    cmp <(grep accuracy "$folder/evaluation-1.json") <(grep accuracy "$folder/evaluation-$team.json")
done
[ "$(wc -l <"$folder/predictions-1.tsv")" -eq 61 ] || die "60 predictions and a header wanted"

echo "started from another run's encoder, of the same and of the other design"
finetune 2 "$folder/started" --model.init="$folder/four" --train.max_steps=2
grep -q "started from $folder/four/step-" "$folder/started.log" || die "$(cat "$folder/started.log")"
finetune 2 "$folder/started-paf" --model.init="$folder/four" --model.design=paf --train.max_steps=2
[ "$(losses "$folder/started" | head -n 1)" != "$(losses "$folder/killed" | head -n 1)" ] || die "it began anew"
