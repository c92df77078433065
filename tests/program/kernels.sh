#!/bin/bash
# paf bench kernels: every kernel of a step is there, with sound figures.
# shellcheck source=tests/support.sh
. tests/support.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
toy=$folder/toy
toy_task "$toy"

bench() { launch/mpi "$1" "$paf" bench kernels --bench.tokens=96 --bench.length=20 --bench.repeats=3 "${@:2}"; }

bench 2 --bench.config="$toy/model.json" --json="$folder/kernels.json" >"$folder/log" 2>&1 || die "$(cat "$folder/log")"
grep -q '^one step on one rank' "$folder/log" || die "no closing line: $(cat "$folder/log")"
for key in ranks peak_gflops bandwidth_gbytes_per_s step_s bound_s share_of_peak; do
    awk -v key="\"$key\":" '$1 == key && $2 + 0 > 0 { found = 1 } END { exit !found }' "$folder/kernels.json" ||
        die "$key is missing or zero"
done
for key in kernel median_s quarter_s three_quarters_s flop bytes gflops gbytes_per_s bound share_of_bound count; do
    [ "$(grep -c "\"$key\": " "$folder/kernels.json")" -ge 30 ] || die "$key is not there for every kernel"
done
# Three layers; LAMB is only shown, and the shares of a step make up the whole.
awk -F '[:,]' '
    /"kernel"/ { name = $2 }
    /"count"/ { if (name ~ /attention, forward/ && $2 + 0 != 3) { print name " " $2; wrong = 1 } }
    /"share_of_step"/ { sum += $2 }
    END { if (sum < 0.999 || sum > 1.001) { print "shares sum to " sum; wrong = 1 } exit wrong }' "$folder/kernels.json"
