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
for key in kernel median_s quarter_s three_quarters_s flop bytes gflops gbytes_per_s bound_s share_of_bound count; do
    [ "$(grep -c "\"$key\": " "$folder/kernels.json")" -ge 30 ] || die "$key is not there for every kernel"
done
bounds=$(grep -cE '"bound": "(peak|bandwidth)"' "$folder/kernels.json")
[ "$bounds" = "$(grep -c '"kernel": ' "$folder/kernels.json")" ] ||
    die "not every kernel has its bound: $(cat "$folder/kernels.json")"
# Three layers; LAMB is only shown, and the shares of a step make up the whole.
awk -F '[:,]' '
    /"kernel"/ { name = $2 }
    /"count"/ { if (name ~ /attention, forward/ && $2 + 0 != 3) { print name " " $2; wrong = 1 } }
    /"share_of_step"/ { sum += $2 }
    END { if (sum < 0.999 || sum > 1.001) { print "shares sum to " sum; wrong = 1 } exit wrong }' "$folder/kernels.json"

# A profile of the toy model deals out the work of a run; as always, layout changes losses by rounding only.
profile=$folder/profile.json
bench 2 --bench.config="$toy/model.json" --write-profile="$profile" >"$folder/log" 2>&1 || die "$(cat "$folder/log")"
grep -q "\"length\": 32" "$profile" || die "no figures for the longest sequences: $(cat "$profile")"
paf_on_two() { finetune 2 "$folder/$1" --model.design=paf --parallel.team=1+1 --train.max_steps=5 "${@:2}"; }
paf_on_two with --parallel.profile="$profile"
paf_on_two without --parallel.balance=off
same_losses "$folder/with" "$folder/without"
# Heads that take forever are shared out; where having any takes forever, one rank has all, and nothing else.
sed 's|"head_s": .*|"head_s": 0.001|' "$profile" >"$folder/heads.json"
paf_on_two heads --parallel.profile="$folder/heads.json"
grep -q 'rank 0: heads 2, neurons 96' "$folder/heads.log" || die "heads did not move: $(cat "$folder/heads.log")"
sed 's|"base_s": .*|"base_s": 0.5,|; s|"neuron_s": .*|"neuron_s": 0.001,|' "$profile" >"$folder/base.json"
paf_on_two base --parallel.profile="$folder/base.json"
grep -q 'rank 0: heads 4, neurons 0,' "$folder/base.log" || die "something moved: $(cat "$folder/base.log")"
same_losses "$folder/heads" "$folder/base"
# team=auto goes by it, too: three ranks, two for what takes longer.
finetune 3 "$folder/auto" --model.design=paf --train.max_steps=1 --parallel.profile="$folder/heads.json"
grep -q 'team 2+1' "$folder/auto.log" || die "no team for heads: $(cat "$folder/auto.log")"
sed 's|"neuron_s": .*|"neuron_s": 0.001,|' "$profile" >"$folder/neurons.json"
finetune 3 "$folder/auto2" --model.design=paf --train.max_steps=1 --parallel.profile="$folder/neurons.json"
grep -q 'team 1+2' "$folder/auto2.log" || die "no team for neurons: $(cat "$folder/auto2.log")"

# Refused, with exit code 2: another model's, a file that is none, and one that is not there.
sed 's|"hidden": 48|"hidden": 96|' "$profile" >"$folder/other.json"
echo '{"profile": 1}' >"$folder/none.json"
for name in other none missing; do
    code=0
    start 2 "$folder/refused" --parallel.profile="$folder/$name.json"
    wait $launcher || code=$?
    [ $code = 2 ] || die "$name: exit code $code"
    grep -q "$name.json" "$folder/refused.log" || die "$name: $(cat "$folder/refused.log")"
    [ $name != other ] || grep -q -- '--write-profile=FILE' "$folder/refused.log" || die "does not say how to measure"
done
