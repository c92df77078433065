#!/bin/bash
# launch/get-glue: from a place like the official one it fetches, unpacks and makes MRPC; what is not whole is named.
. tests/support.sh
command -v curl >/dev/null && command -v zip >/dev/null || { echo "no curl or no zip" && exit 77; }
folder=$(mktemp -d)
source=$folder/source there=$folder/mirror/glue/data
got=$folder/train/dev_ids # where the files lie says nothing about what they are

# rows FILE HEADER N [FIELDS]
rows() {
    mkdir -p "$(dirname "$source/$1")"
    awk -v header="$2" -v n="$3" -v fields="${4:-2}" 'BEGIN {
        for (i = 1 - header; i <= n; i++) { printf "%d", i; for (f = 1; f < fields; f++) printf "\tx"; print "" }
    }' >"$source/$1"
}
rows CoLA/train.tsv 0 8551 && rows CoLA/dev.tsv 0 1043 && rows CoLA/test.tsv 1 1063
rows SST-2/train.tsv 1 67349 && rows SST-2/dev.tsv 1 872 && rows SST-2/test.tsv 1 1821
rows STS-B/train.tsv 1 5749 && rows STS-B/dev.tsv 1 1500 && rows STS-B/test.tsv 1 1379
rows QQP/train.tsv 1 363846 6 && rows QQP/dev.tsv 1 40430 6 && rows QQP/test.tsv 1 390965 3
rows MNLI/train.tsv 1 392702 && rows MNLI/dev_matched.tsv 1 9815 && rows MNLI/dev_mismatched.tsv 1 9832
rows MNLI/test_matched.tsv 1 9796 && rows MNLI/test_mismatched.tsv 1 9847
rows QNLI/train.tsv 1 104743 && rows QNLI/dev.tsv 1 5463 && rows QNLI/test.tsv 1 5463
rows RTE/train.tsv 1 2490 && rows RTE/dev.tsv 1 277 && rows RTE/test.tsv 1 3000
rows WNLI/train.tsv 1 635 && rows WNLI/dev.tsv 1 71 && rows WNLI/test.tsv 1 146
printf '7\t8\t9\n' >>"$source/QQP/train.tsv"              # dropped, as paf drops it
truncate -s -1 "$source/CoLA/dev.tsv"                     # no newline at its end
echo >>"$source/RTE/dev.tsv"                              # an empty last line
mkdir -p "$there" "$folder/mirror/senteval/senteval_data"
for task in CoLA SST-2 STS-B QQP MNLI QNLI RTE WNLI; do
    archive=$task
    [ $task != QQP ] || archive=QQP-clean
    [ $task != QNLI ] || archive=QNLIv2
    (cd "$source" && zip -qr1 "$there/$archive.zip" $task)
done
awk 'BEGIN { for (i = -1; i < 1104; i++) print i "\ta\tb" }' >"$there/AX.tsv"
# MRPC as its makers have it: 4076 pairs, of which 408 are for dev.
awk -v mirror="$folder/mirror" 'BEGIN {
    head = "\357\273\277Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    train = mirror "/senteval/senteval_data/msr_paraphrase_train.txt"
    test = mirror "/senteval/senteval_data/msr_paraphrase_test.txt"
    print head > train
    print head > test
    for (i = 0; i < 4076; i++) print i % 2 "\t" i "\t" i + 1 "\tone \"quoted\" " i "\ttwo\r" > train
    for (i = 0; i < 408; i++) print i * 7 "\t" i * 7 + 1 > (mirror "/glue/data/mrpc_dev_ids.tsv")
    for (i = 0; i < 1725; i++) print "1\t" i "\t" i + 9 "\tone\ttwo" > test
}'

looked() { ends "$1" "$2" launch/get-glue "${@:3}"; } # CODE MESSAGE OPTION...

echo "all of it"
looked 0 "all of GLUE is there: pass --data.dir $got" --from "file://$folder/mirror" "$got"
[ "$(grep -c '^fetching' "$folder/output")" = 10 ] && [ "$(grep -c ': ok, ' "$folder/output")" = 30 ] ||
    die "$(cat "$folder/output")"
[ "$(ls -A "$got" | wc -l)" = 10 ] || die "$(ls -A "$got")"
printf '1\t7\t8\tone "quoted" 7\ttwo\n' | diff - <(sed -n 3p "$got/MRPC/dev.tsv") || die "MRPC's dev split"
printf '1\t1\t2\tone "quoted" 1\ttwo\n' | diff - <(sed -n 2p "$got/MRPC/train.tsv") || die "MRPC's train split"
printf 'index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t0\t9\tone\ttwo\n' |
    diff - <(head -n 2 "$got/MRPC/test.tsv") || die "MRPC's test split"

echo "what is not whole is named, and only that is fetched again"
sed -i 5d "$got/WNLI/dev.tsv"
rm "$got/MNLI/dev_mismatched.tsv"
mkdir "$got/AX" && mv "$got/diagnostic/diagnostic.tsv" "$got/AX/test.tsv" # paf finds it there, too
looked 1 'not whole: MNLI WNLI;' --check "$got"
grep -q 'WNLI/dev.tsv: 70 rows instead of 71' "$folder/output" || die "$(cat "$folder/output")"
grep -q 'MNLI/dev_mismatched.tsv: missing' "$folder/output" || die "$(cat "$folder/output")"
looked 0 'all of GLUE is there' --from "file://$folder/mirror" "$got"
[ "$(grep '^fetching' "$folder/output")" = $'fetching MNLI\nfetching WNLI' ] || die "$(cat "$folder/output")"

echo "not to be reached: one message, nothing left"
looked 1 'cannot fetch file:.*/nowhere/glue/data/CoLA.zip .*--check DIR' --from "file://$folder/nowhere" "$folder/empty"
[ "$(grep -c . "$folder/output")" = 2 ] && [ -z "$(ls -A "$folder/empty")" ] || die "$(cat "$folder/output")"
looked 2 'is not a folder' --check "$folder/nowhere"
looked 2 'there is no option --all' --all "$got"
