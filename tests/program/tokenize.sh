#!/bin/bash
# paf tokenize as a user meets it: the same bytes on any number of ranks, what the page of the format says, bad input,
# and a full disk.
. tests/support.sh
folder=$(mktemp -d)
failures=0

# Letters are pieces, so that tokens can be read: a is 5, b is 6, ...
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' {a..z} >"$folder/vocab.txt"
mkdir -p "$folder/text/wiki" "$folder/empty"
printf '<doc id="1">\nA b.\n\nc\n</doc>\n<doc id="2">\nd\n</doc>\n' >"$folder/text/wiki/AA"
printf 'e f\r\ng\r\n\r\nh\r\n' >"$folder/text/novel.txt"
printf 'i \377 j\n' >"$folder/text/odd.txt"
printf 'not to be read\n' >"$folder/text/.hidden"
for ((i = 0; i < 300; i++)); do printf 'k %d %d\nm n\n\n' $((i % 10)) $((i % 7)); done | tr 0-9 a-j \
    >"$folder/text/many.txt"

# tokenize RANKS OUTPUT OPTION... TEXT...
tokenize() {
    local ranks=$1 output=$2
    shift 2
    launch/mpi "$ranks" "$paf" tokenize --tokenize.vocab="$folder/vocab.txt" --tokenize.output="$output" "$@" \
        >"$folder/log" 2>&1
}

# expect TEXT: the log has a line that matches this extended expression.
expect() { grep -Eq "$1" "$folder/log" || die "\"$1\" is not in: $(cat "$folder/log")"; }

echo "any number of ranks"
for ranks in 1 2 3; do
    tokenize $ranks "$folder/on$ranks" --tokenize.tokens_per_shard=200 "$folder/text" || die "$(cat "$folder/log")"
    diff -r "$folder/on1" "$folder/on$ranks"
done
expect 'warning: 1 places? of invalid UTF-8'
expect 'train: [0-9]+ documents, [0-9]+ lines, [0-9]+ tokens in [0-9]+ shards'
[ -e "$folder/on1/train/shard-00003.h5" ] || die "too few shards to be a test"
[ -e "$folder/on1/heldout/shard-00000.h5" ] || die "nothing was held out"
[ "$(ls -A "$folder/on1")" = $'heldout\ntrain' ] || die "left behind: $(ls -A "$folder/on1")"

echo "the reader of the format's page"
tokenize 2 "$folder/plain" --tokenize.heldout=0 \
    "$folder/text/wiki" "$folder/text/novel.txt" --tokenize.input="$folder/text/odd.txt"
[ ! -e "$folder/plain/heldout" ] || die "something was held out"
code=0
tests/data/read_tokens.sh "$folder/plain/train" >"$folder/ids" || code=$?
case $code in
0) printf '%s\n' '13 14' '' '5 6 1' '7' '' '8' '' '9 10' '11' '' '12' '' | diff - "$folder/ids" ;;
77) echo "(no python3 with h5py: left out)" ;;
*) die "the reader ended with $code" ;;
esac

echo "checksums, and who is held out"
if command -v xxhsum >/dev/null; then
    (cd "$folder/on1/train" && xxhsum -c tokens.xxh3 >/dev/null 2>&1) || die "tokens.xxh3 does not match"
    for shard in "$folder"/on1/train/shard-*; do
        sum=$(xxhsum -H2 "$shard" 2>/dev/null)
        grep -q "\"xxh3_128\": \"${sum%% *}\"" "$folder/on1/train/tokens.json" || die "$shard: another checksum"
    done
    for text in 'a b' 'c' 'd e f'; do
        printf '\n%s \r\n\n' "$text" >"$folder/one.txt"
        sum=$(printf '%s \n' "$text" | xxhsum -H2 2>/dev/null)
        share=$(printf '0.%02d' $((0x${sum:0:8} * 100 / 4294967296))) # the document lies just above it
        code=0
        tokenize 1 "$folder/one" --tokenize.heldout="$share" "$folder/one.txt" || code=$?
        [ $code = 2 ] || die "$text is held out of $share"
        expect 'no document \(of 1\) fell to the held-out part'
        share=$(awk "BEGIN { print $share + 0.01 }")
        code=0
        tokenize 1 "$folder/one" --tokenize.heldout="$share" "$folder/one.txt" || code=$?
        [ $code = 2 ] || die "$text is not held out of $share"
        expect 'every document \(1\) fell to the held-out part'
    done
else
    echo "(no xxhsum: left out)"
fi

# refused CODE TEXT RANKS OUTPUT OPTION...: ends with CODE and one line of error that matches TEXT.
refused() {
    local code=0 wanted=$1 text=$2
    shift 2
    tokenize "$@" || code=$?
    if [ $code != "$wanted" ] || [ "$(grep -c 'paf: error: ' "$folder/log")" != 1 ] ||
        ! grep -Eq "paf: error: .*$text" "$folder/log"; then
        echo "$*: exit code $code for $wanted; \"$text\" wanted:" && sed 's/^/    /' "$folder/log"
        failures=$((failures + 1))
    fi
}

echo "bad input"
refused 2 'no text to read: name files or folders' 1 "$folder/bad"
refused 2 'there is no text in the files that were named' 1 "$folder/bad" "$folder/empty"
refused 2 'no document \(of 1\) fell to the held-out part' 2 "$folder/bad" --tokenize.heldout=1e-9 \
    "$folder/text/odd.txt"
refused 2 'every document \(1\) fell to the held-out part' 1 "$folder/bad" --tokenize.heldout=0.99 \
    "$folder/text/odd.txt"
refused 2 'there is no .*/nowhere$' 1 "$folder/bad" "$folder/text" "$folder/nowhere"
refused 2 '/dev/null is neither a file nor a folder' 1 "$folder/bad" /dev/null
refused 2 'tokenize.vocab is not set' 1 "$folder/bad" --tokenize.vocab= "$folder/text"
refused 2 'cannot open .*/none.txt: No such file' 1 "$folder/bad" --tokenize.vocab="$folder/none.txt" \
    "$folder/text"
refused 2 'tokenize.documents = page: expected one of: auto file blank doc' 1 "$folder/bad" --tokenize.documents=page \
    "$folder/text"
refused 2 'tokenize.heldout = 1: expected' 1 "$folder/bad" --tokenize.heldout=1 "$folder/text"
mkdir "$folder/other" && touch "$folder/other/.hidden"
refused 2 'other/.hidden is not of token shards and would be lost' 2 "$folder/other" "$folder/text"
refused 2 'plain/train/shard-00000.h5 is in the output folder' 2 "$folder/plain" "$folder"
refused 2 'cannot .*vocab.txt.*: Not a directory' 1 "$folder/vocab.txt/bad" "$folder/text"
[ -z "$(find "$folder" -maxdepth 1 -name 'bad*')" ] || die "left behind: $(find "$folder" -name 'bad*')"
[ $failures = 0 ] || exit 1

# A full disk, at whatever point it fills up: one error, nothing left, and the shards that were there as they were.
echo "a full disk"
disk=$folder/disk
mkdir "$disk"
mount -t tmpfs -o size=8m tmpfs "$disk" 2>/dev/null ||
    { echo "(no right to mount a small file system here: left out)" && exit 0; }
trap 'umount "$disk"' EXIT
awk 'BEGIN {
    for (i = 0; i < 9000; i++) {
        for (k = 0; k < 30; k++) printf "%c ", 97 + (i * 7 + k * k) % 26
        print "\n"
    }
}' >"$folder/large.txt"
tokenize 1 "$disk/tokens" "$folder/text"
cp -r "$disk/tokens" "$folder/before"

for room in 40 500 1300 1900; do
    dd if=/dev/zero of="$disk/filler" bs=1k count=$(($(df -k --output=avail "$disk" | tail -n 1) - room)) 2>/dev/null
    code=0
    tokenize 2 "$disk/tokens" --tokenize.documents=file "$folder/large.txt" "$folder/text" || code=$?
    if [ $code = 0 ]; then die "room of $room kB was enough: not a test"; fi
    [ $code = 1 ] && [ "$(grep -c 'paf: error: .*No space left' "$folder/log")" = 1 ] ||
        die "room of $room kB: exit code $code for 1: $(cat "$folder/log")"
    grep -o 'cannot write.*' "$folder/log" >>"$folder/where"
    diff -r "$folder/before" "$disk/tokens"
    [ "$(ls -A "$disk")" = $'filler\ntokens' ] || die "left behind: $(ls -A "$disk")"
    rm "$disk/filler"
done
grep -q spool "$folder/where" && grep -q 'shard-0' "$folder/where" ||
    die "the disk was not full both times that it is written to: $(cat "$folder/where")"
tokenize 2 "$disk/tokens" "$folder/large.txt" "$folder/text"
