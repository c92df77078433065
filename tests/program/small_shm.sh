#!/bin/bash
# Where shared memory is too small for the exchange, it says so and takes messages, with the same losses to the bit.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
tiny=$folder/tiny
mkdir "$tiny"
mount -t tmpfs -o size=1m tmpfs "$tiny" 2>/dev/null || { echo "no right to mount a small file system here" && exit 77; }
trap 'umount "$tiny"' EXIT
toy_task "$toy"
options=(--train.batch=128 --train.max_steps=5)

finetune 2 "$folder/roomy" "${options[@]}"
OMPI_MCA_osc_sm_backing_directory=$tiny finetune 2 "$folder/small" "${options[@]}"
grep -q "exchange: $tiny has no room for .* MiB of shared memory .*; using mpi" "$folder/small.log" ||
    die "$(cat "$folder/small.log")"
same_losses "$folder/roomy" "$folder/small" 0
