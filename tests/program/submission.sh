#!/bin/bash
# launch/glue-submission: eleven right files pass and are zipped without folders; whatever is wrong with one is said,
# with file and line, and nothing is zipped.
# shellcheck disable=SC2016 # programs of awk
. tests/support.sh
folder=$(mktemp -d)
right=$folder/right

# predictions FILE ROWS LABEL...: a file that is right, the labels in turn
predictions() {
    awk -v rows="$2" -v labels="${*:3}" 'BEGIN {
        n = split(labels, label, " ")
        print "index\tprediction"
        for (i = 0; i < rows; i++) print i "\t" label[i % n + 1]
    }' >"$right/$1"
}
mkdir "$right"
for file in CoLA:1063 SST-2:1821 MRPC:1725 QQP:390965 WNLI:146; do predictions ${file%:*}.tsv ${file#*:} 0 1; done
for file in QNLI:5463 RTE:3000; do predictions ${file%:*}.tsv ${file#*:} entailment not_entailment; done
for file in MNLI-m:9796 MNLI-mm:9847 AX:1104; do
    predictions ${file%:*}.tsv ${file#*:} entailment neutral contradiction
done
predictions STS-B.tsv 1379 0.000 5.000 3.142

checked() { ends "$1" "$2" launch/glue-submission "${@:3}"; } # CODE MESSAGE OPTION...

echo "eleven right files"
checked 0 'all 11 files are right, and in' "$right"
[ "$(grep -c ': ok, ' "$folder/output")" = 11 ] || die "$(cat "$folder/output")"
if command -v python3 >/dev/null; then
    names=$(python3 -m zipfile -l "$right.zip" | awk 'NR > 1 { print $1 }' | sort)
    [ "$names" = "$(cd "$right" && printf '%s\n' ./* | sed 's|^./||' | sort)" ] || die "the zip has $names"
fi
echo notes >"$right/notes.txt"
checked 0 'notes.txt: not one of GLUE' -o "$folder/other.zip" "$right/"
rm "$right/notes.txt"
[ -s "$folder/other.zip" ] || die "no other.zip"

# wrong FILE MESSAGE AWK-PROGRAM: done to one file of a copy, it is told, and nothing is zipped.
wrong() {
    rm -rf "$folder/wrong" "$folder/wrong.zip"
    cp -r "$right" "$folder/wrong"
    awk -F '\t' -v OFS='\t' "$3" "$right/$1" >"$folder/wrong/$1"
    checked 1 "wrong/$1:$2" "$folder/wrong"
    [ "$(grep -c ': ok, ' "$folder/output")" = 10 ] || die "not ten others: $(cat "$folder/output")"
    [ ! -e "$folder/wrong.zip" ] || die "zipped all the same"
}

echo "one that is wrong"
wrong RTE.tsv '501: the index is "500" instead of 499' 'NR != 501'
wrong RTE.tsv '3000: ends after 2999 of 3000 rows' 'NR <= 3000'
wrong RTE.tsv '3002: a row too many' '{ print } END { print 3000, "entailment" }'
wrong RTE.tsv '7: "1" instead of entailment or not_entailment' 'NR == 7 { $2 = 1 } { print }'
wrong MRPC.tsv '9: "entailment" instead of 0 or 1' 'NR == 9 { $2 = "entailment" } { print }'
wrong MRPC.tsv '9: "2" instead of 0 or 1' 'NR == 9 { $2 = 2 } { print }'
wrong CoLA.tsv '9: "" instead of 0 or 1' 'NR == 9 { $2 = "" } { print }'
wrong AX.tsv '2: "not_entailment" instead of entailment or neutral' 'NR == 2 { $2 = "not_entailment" } { print }'
wrong CoLA.tsv '1: the header should be' 'NR == 1 { $1 = "id" } { print }'
wrong CoLA.tsv '1: the header should be' 'NR > 1'
wrong CoLA.tsv '5: two fields, .* not 1' 'NR == 5 { print $1 " " $2; next } { print }'
wrong CoLA.tsv '2: the index is "1" instead of 0' 'NR > 1 { $1++ } { print }'
wrong CoLA.tsv '1: the line ends in a carriage return' '{ print $0 "\r" }'
wrong CoLA.tsv '0: ends after 0 of 1063 rows' '0'
wrong STS-B.tsv '3: "5" is not a number with three decimals' 'NR == 3 { $2 = 5 } { print }'
wrong STS-B.tsv '3: 5.001 is not between 0 and 5' 'NR == 3 { $2 = "5.001" } { print }'
wrong STS-B.tsv '3: "-0.100" is not a number' 'NR == 3 { $2 = "-0.100" } { print }'
wrong STS-B.tsv '3: "nan" is not a number' 'NR == 3 { $2 = "nan" } { print }'

echo "one that is missing"
rm -f "$right.zip"
mv "$right/QNLI.tsv" "$folder"
checked 1 "missing in .*: QNLI.tsv" "$right"
checked 0 "the 10 files at hand are right; not zipped" --partial "$right"
[ ! -e "$right.zip" ] || die "zipped all the same"
sed -i 's/contradiction/denial/' "$right/AX.tsv"
checked 1 'AX.tsv:4: "denial"' --partial "$right"

echo "bad usage"
checked 2 'usage\|launch/glue-submission \[' ''
checked 2 'is not a folder' "$folder/nowhere"
checked 2 'there is no option --all' --all "$right"
