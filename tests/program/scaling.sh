#!/bin/bash
# launch/scaling: a row a run, medians, speed-ups against the first layout, parts that make up a step, a picture; and
# bad input before anything runs.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
toy_text "$toy"
options=(--data.tokens="$toy/tokens" --data.vocab="$toy/vocab.txt" --data.length=24 --data.heldout=4
    --model.config="$toy/model.json" --model.design=paf)

echo "a study"
PAF=$paf launch/scaling -o "$folder/study" -b 8 -s 6 -r 2 1 1x2 1/2 1+1x2 -- "${options[@]}" --train.accumulate=4 \
    >"$folder/log" 2>&1 || die "$(cat "$folder/log")"
[ "$(wc -l <"$folder/study/runs.csv")" = 17 ] || die "$(cat "$folder/study/runs.csv")"
[ "$(wc -l <"$folder/study/scaling.csv")" = 9 ] || die "$(cat "$folder/study/scaling.csv")"
grep -q "serial part that fits" "$folder/log" || die "$(cat "$folder/log")"
# Weak: each rank brings as much. Every row: parts are seconds of the step, and add up to it but for what is between
# steps; who has one rank sends nothing.
awk -F , '
    NR == 1 { for (c = 1; c <= NF; c++) column[$c] = c; next }
    $column["batch"] != 8 * ($1 == "weak" ? $column["ranks"] : 1) { print "batch: " $0; wrong = 1 }
    {
        sum = 0
        for (c = column["attention"]; c <= column["other"]; c++) sum += $c
        if (sum < 0.3 * $column["step_seconds"] || sum > 3 * $column["step_seconds"]) { print "parts: " $0; wrong = 1 }
        if (($column["bytes"] > 0) != ($column["ranks"] > 1)) { print "bytes: " $0; wrong = 1 }
        if (($column["bubble"] > 0) != ($column["stages"] > 1)) { print "bubble: " $0; wrong = 1 }
    }
    END { exit wrong }' "$folder/study/runs.csv" || die "runs.csv"
awk -F , 'NR > 1 && $2 == "1" && ($9 != 1 || $10 != 1) { print; wrong = 1 } END { exit wrong }' \
    "$folder/study/scaling.csv" || die "the first layout is not 1 of itself"
if command -v gnuplot >/dev/null; then
    grep -q '</svg>' "$folder/study/scaling.svg" || die "no picture: $(cat "$folder/log")"
fi

echo "bad input"
refused() { PAF=$paf ends 2 "$1" launch/scaling "${@:2}"; }
refused 'o FOLDER is missing' 1
refused 'which layouts' -o "$folder/other"
refused 'not a layout' -o "$folder/other" 1x
refused 'a team is 1 or A+F' -o "$folder/other" 2
refused '2 ranks do not divide into 4 hosts' -o "$folder/other" 1+1@4
refused 'the first two steps do not count' -o "$folder/other" -s 2 1
refused 'holds a study already' -o "$folder/study" 1
refused 'no option' -o "$folder/other" --steps 1
refused '1 failed' -o "$folder/failed" 1 -- --no.such=option
