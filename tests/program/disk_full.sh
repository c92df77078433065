#!/bin/bash
# A full disk: the run warns, keeps the checkpoint that it had, and ends with an error; with room again it goes on with
# the same losses to the bit.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
disk=$folder/disk
mkdir "$disk"
mount -t tmpfs -o size=8m tmpfs "$disk" 2>/dev/null || { echo "no right to mount a small file system here" && exit 77; }
trap 'umount "$disk"' EXIT
toy_task "$toy"
options=(--train.max_steps=60 --train.eval_every=20)

finetune 2 "$folder/whole" "${options[@]}"
start 2 "$disk/run" "${options[@]}" --run.checkpoint_every=5
until [ -e "$disk/run/latest" ] || ! kill -0 $launcher; do sleep 0.02; done
kill -TERM $launcher
wait $launcher || die "$(cat "$disk/run.log")"
[ ! -e "$disk/run/results.json" ] || die "it was over before it could be stopped"

# Room for what the run writes line by line, none for a checkpoint.
dd if=/dev/zero of="$disk/filler" bs=1k count=$(($(df -k --output=avail "$disk" | tail -n 1) - 200)) 2>/dev/null
before=$("$paf" checkpoint list "$disk/run")
code=0
launch/mpi 2 "$paf" finetune --data.task="$toy/task.ini" --data.dir="$toy" --data.vocab="$toy/vocab.txt" \
    --data.max_length=24 --model.config="$toy/model.json" --train.batch=16 --train.lr=1e-3 "${options[@]}" \
    --run.out="$disk/run" --run.resume=auto >"$folder/full.log" 2>&1 || code=$?
[ $code = 1 ] && grep -q 'warning: no checkpoint of step 60.*No space left' "$folder/full.log" &&
    [ "$(grep -c 'paf: error: ' "$folder/full.log")" = 1 ] || die "exit code $code for 1: $(cat "$folder/full.log")"
[ "$before" = "$("$paf" checkpoint list "$disk/run")" ] || die "the old checkpoint is not as it was"

rm "$disk/filler"
finetune 2 "$disk/run" "${options[@]}" --run.resume=auto
same_losses "$folder/whole" "$disk/run" 0
