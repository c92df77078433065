#!/bin/bash
# paf bench layer, exchange and step on small models, on 1, 2 and 3 ranks: the figures are all there and fit together
# (how fast anything is, is not judged), a step's loss is that of any layout, and what a user may get wrong is one
# message and exit code 2.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy" # hidden 48, 4 heads, 192 neurons, 3 layers, 32 positions
failures=0
fail() { echo "$*" && failures=$((failures + 1)); }

# bench RANKS NAME OUT OPTION...: its JSON in OUT.json, its table in OUT
bench() {
    local ranks=$1 name=$2
    out=$3
    shift 3
    launch/mpi "$ranks" "$paf" bench "$name" --bench.config="$toy/model.json" --bench.repeats=3 --json="$out.json" \
        "$@" >"$out" 2>&1 || fail "bench $name on $ranks: $(<"$out")"
    grep -Eqi '[^a-z](nan|inf)[^a-z]' "$out" "$out.json" && fail "bench $name on $ranks: no number: $(<"$out")"
    is bench "\"$name\""
    is ranks "$ranks"
    is repeats 3
    for key in version cores team config layers tokens length peak_gflops; do
        grep -q "^  \"$key\": " "$out.json" || fail "$out.json: no $key"
    done
}
# value KEY: of the first member with this name in $out.json; values KEY: of all, a line each
values() { sed -n "s/^ *\"$1\": \([^[{]*[^[{,]\),\{0,1\}$/\1/p" "$out.json"; }
value() { values "$1" | head -n 1; }
is() { [ "$(value "$1")" = "$2" ] || fail "$out.json: $1 is $(value "$1"), not $2"; }
# many N KEY: so many members with this name
many() { [ "$(grep -c "^ *\"$2\": " "$out.json")" = "$1" ] || fail "$out.json: not $1 x $2"; }
# holds EXPRESSION: of awk, in which $KEY stands for the first value of KEY in $out.json
holds() {
    local text=$1 key
    for key in $(grep -o '\$[a-z_]*' <<<"$1" | tr -d '$' | sort -ru); do
        [ -n "$(value "$key")" ] || fail "$out.json: no $key"
        text=${text//"\$$key"/"($(value "$key"))"}
    done
    awk "function near(a, b) { d = a - b; return (d < 0 ? -d : d) <= 1e-6 * b }
         BEGIN { exit !($text) }" || fail "$out.json: not $1: $text"
}
# spread KEY: a positive median between its quartiles
spread() {
    awk -v key="\"$1\":" -v list="\"$1_quartiles\":" '
        { sub(/,$/, "") }
        $1 == key { median = $2 }
        $1 == list { getline low; getline high }
        END { exit !(low + 0 > 0 && low + 0 <= median && median <= high + 0) }' "$out.json" || fail "$out.json: $1"
}
# shares N: those of N variants, each of them 1 in sum
shares() {
    awk -v n="$1" '
        { sub(/,$/, "") }
        /^ *"variant": / { variants++ }
        /^ *"(other|attention|ffn|exchange|idle|embedding|head|optimizer)": [0-9]/ && variants { sum[variants] += $2 }
        END {
            for (v = 1; v <= variants; v++) if (sum[v] < 0.999 || sum[v] > 1.001) exit 1
            exit variants != n
        }' "$out.json" || fail "$out.json: the shares of $1 variants"
}

echo "layer"
# A token's FLOP at 16 tokens a sequence: attention 8 x 48 x 48 + 4 x 16 x 48 = 21504, FFN 4 x 48 x 192 = 36864.
for ranks in 1 2 3; do
    team=([1]=1 [2]=auto [3]=1+2)
    bench $ranks layer "$folder/layer-$ranks" --bench.team="${team[ranks]}" --bench.tokens=64 --bench.length=16
    is layers 2
    many 2 forward
    many 2 backward
    holds 'near($flop_ratio, 21504 / 36864) && $time_ratio > 0'
    case $ranks in
    1) shares 2 && many 0 paf_over_saf && is bound_off 1.0 ;;
    2) shares 6 && holds 'near($bound_off, 58368 / 36864)' ;;
    3) shares 6 && is team '"1+2"' && holds 'near($bound_off, 58368 / 21504)' ;;
    esac
    [ $ranks = 1 ] && continue
    spread speedup
    spread speedup_off
    spread paf_over_saf
    spread split_over_pblas
    many 2 memory_bytes
    holds '$bound_by_flop == $bound_off && $bound_by_time > 1'
    grep -q '^PAF, balance off  *[0-9]' "$out" || fail "$(<"$out")"
done
# Sums in shared memory send nothing; tiles on two ranks do.
[ "$(values messages | head -n 1)" = 0.0 ] && [ "$(values messages | tail -n 1)" != 0.0 ] || fail "$(<"$out")"
holds '$seconds > 0 && $memory_bytes > 0'
bench 3 layer "$folder/layer" --bench.team=2+1 --bench.exchange=mpi --bench.tokens=50 --bench.length=40 --bench.layers=1
# A grid of one rank sends nothing; the exchange sends what it sends with split products.
[ "$(values messages | sort -u | wc -l)" = 1 ] || fail "$(<"$out")"
[ "$(values bytes | sort -u | wc -l)" = 1 ] || fail "$(<"$out")"
holds '$messages > 0 && $bytes > 0 && $seconds > 0'
is team '"2+1"'
is layers 1

echo "exchange"
bench 1 exchange "$folder/exchange-1"
[ "$(values kind | sort -u)" = '"local"' ] || fail "$(<"$out")"
many 6 tokens # the common head's, and five
bench 2 exchange "$folder/exchange-2" --bench.tokens=70
for kind in shared mpi all-reduce; do # for 1 and 70 tokens
    [ "$(values kind | grep -c "\"$kind\"")" = 2 ] || fail "$(<"$out")"
done
# 2 to 4 partials, as balance shares the blocks out; x, y and what LayerNorm keeps, of 48 floats.
holds "$(values bytes | sed -n 1p) == 4 * 48 * (4 + 3) || $(values bytes | sed -n 1p) == 4 * 48 * (3 + 3)"
holds "$(values bytes | sed -n 2p) == 4 * 48 * (5 + 2 * 3 / 4)"
bench 2 exchange "$folder/exchange-off" --bench.tokens=1 --bench.balance=off --bench.exchange=shared
holds "$(values bytes | sed -n 1p) == 4 * 48 * (2 + 3)"
many 3 tokens
bench 3 exchange "$folder/exchange-3" --bench.tokens=2 --bench.exchange=mpi # fewer tokens than ranks
[ "$(values kind | sort -u | tr -d '\n')" = '"all-reduce""mpi"' ] || fail "$(<"$out")"

echo "step"
# like KEY OUT: the same number as there, to rounding
like() {
    local mine
    mine=$(value "$1")
    out=$2
    holds "near($mine, \$$1) || near($mine - \$$1, 0) || ($mine - \$$1) ^ 2 < 1e-9"
}
vocabulary=$(wc -l <"$toy/vocab.txt")
for head in masked_lm classifier; do
    for ranks in 1 2 3; do
        bench $ranks step "$folder/$head-$ranks" --bench.tokens=100 --bench.length=24 --bench.head=$head
        is layers 3
        is design '"paf"'
        is sequences 5
        is step_tokens 100.0
        shares 1
        holds '$loss > 0.01 && $tokens_per_s > 0 && $share_of_peak > 0'
        [ "$(grep -c '^    [0-9]*,\{0,1\}$' "$out.json")" = $ranks ] || fail "$out.json: memory of $ranks ranks"
        like loss "$folder/$head-1"
    done
done
# 4 sequences of 24 tokens and one of 4; 15 of 100 tokens are masked; a backward pass is two forward passes.
out=$folder/masked_lm-2
layers="100 * 3 * (8 * 48 * 48 + 4 * (4 * 24 * 24 + 16) / 100 * 48 + 4 * 48 * 192)"
holds "\$head_rows == 15 && near(\$step_gflop * 1e9, 3 * ($layers + 15 * (2 * 48 * 48 + 2 * 48 * $vocabulary)))"
out=$folder/classifier-2
holds "\$head_rows == 5 && near(\$step_gflop * 1e9, 3 * ($layers + 5 * 2 * 48 * 48))"
bench 2 step "$folder/parts" --bench.tokens=100 --bench.length=24 --bench.micro_tokens=30 --bench.recompute=layer \
    --bench.balance=off --bench.one=on
shares 2
spread speedup
is micro_tokens 30
[ "$(values loss | wc -l)" = 2 ] || fail "not two losses"
like loss "$folder/masked_lm-1"
# Every second sequence has two masked tokens, the others one: the parts are not alike.
bench 1 step "$folder/uneven" --bench.tokens=200 --bench.length=10 --bench.micro_tokens=100
like loss "$folder/uneven" # it is there
bench 2 step "$folder/lamb" --bench.tokens=48 --bench.length=24 --bench.optimizer=lamb --bench.design=saf \
    --bench.layers=1
is design '"saf"'
is layers 1
like loss "$folder/lamb" # it is there

echo "the lengths of a task"
task=(--bench.task="$toy/task.ini" --data.dir="$toy" --data.vocab="$toy/vocab.txt" --bench.length=30)
bench 1 step "$folder/task-1" "${task[@]}" --bench.head=classifier --bench.tokens=300
holds '$step_tokens <= 300 && $step_tokens > 270 && $sequences > 10 && $head_rows == $sequences'
bench 2 step "$folder/task-2" "${task[@]}" --bench.head=classifier --bench.tokens=300 --bench.micro_tokens=64
like loss "$folder/task-1"
bench 2 step "$folder/task-masked" "${task[@]}" --bench.tokens=300

echo "options and bad input"
# refused TEXT RANKS NAME OPTION...
refused() {
    local code=0 text=$1 ranks=$2
    shift 2
    launch/mpi "$ranks" "$paf" bench "$@" >"$folder/output" 2>&1 || code=$?
    [ $code = 2 ] && [ "$(grep -c 'paf: error: ' "$folder/output")" = 1 ] && grep -qF -- "$text" "$folder/output" ||
        fail "bench $*: exit code $code for 2; \"$text\" wanted: $(<"$folder/output")"
}
small=--bench.config=$toy/model.json
refused 'which one? paf bench kernels|layer|exchange|step' 1
refused 'there is no bench layr; did you mean bench layer?' 1 layr
refused 'bench step: what is fast?' 1 step fast
refused 'there is no option bench.optimizer' 1 layer --bench.optimizer=lamb
refused 'bench.team=1+2 wants 3 ranks, but there are 2; start 3, or say --bench.team=1+1' 2 layer "$small" \
    --bench.team=1+2
refused '5 attention ranks cannot share 4 heads' 6 layer "$small" --bench.team=5+1
refused 'cannot open' 1 exchange --bench.config="$folder/none.json"
refused 'there is no folder' 2 step "$small" --json="$folder/nowhere/a.json"
refused 'is a folder' 2 step "$small" --json="$folder"
refused 'bench.length is 33, but the model has 32 positions' 2 step "$small" --bench.length=33
refused 'bench.length is 33, but the model has 32 positions' 2 step "$small" "${task[@]}" --bench.length=33
refused 'bench.micro_tokens is 20, but the longest sequence has 24 tokens' 2 step "$small" --bench.length=24 \
    --bench.micro_tokens=20
refused 'data.vocab is not set' 1 step "$small" --bench.length=24 --bench.task=mrpc --data.dir="$toy"
refused "there is no task 'mrpd'; did you mean mrpc" 1 step "$small" "${task[@]}" --bench.task=mrpd
refused 'GiB free' 1 step "$small" --bench.length=24 --bench.tokens=16000000 --bench.micro_tokens=16000000 \
    --bench.layers=1000
[ ! -e "$folder/nowhere" ] || fail "a folder that nobody asked for"

# takes NAME OPTION...: what its help lists, the common ones apart
takes() {
    local name=$1 listed
    shift
    listed=$("$paf" bench "$name" --help | sed -n 's/^  --\([a-z._-]*\) .*/\1/p' | grep -v '^config$\|^json$' |
        grep -v '^bench\.\(config\|tokens\|length\|repeats\|team\|exchange\)$' | tr '\n' ' ')
    [ "$listed" = "$* " ] || fail "bench $name takes $listed"
}
takes kernels write-profile
takes layer bench.{profile,layers}
takes exchange bench.{profile,balance}
takes step bench.{profile,layers,design,balance,head,optimizer,micro_tokens,recompute,one,task} \
    data.{dir,vocab,lower_case}
"$paf" bench --help | grep -q '^  step ' || fail "no overview"

exit $((failures > 0))
