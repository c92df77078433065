#!/usr/bin/env python3
"""Compares paf's tokenizer with Hugging Face's; see tests/compare/tokens, which runs this."""
import glob
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from tokenizers import normalizers, pre_tokenizers
from transformers import BertTokenizerFast, RobertaTokenizerFast

PROGRAM = sys.argv[1]
DATA = os.environ["PAF_DATA"]
BERT = f"{DATA}/vocab/bert-uncased/vocab.txt"
ROBERTA = f"{DATA}/vocab/roberta"
BATCH = 20000
RANDOM_STRINGS = 100000
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ODDITIES = ["the ", "ΟΔΟΣ", "İstanbul", "ﬁ", "naïve ", "##ing", "x" * 101, "é" * 51]
BPE_SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
BPE_ODDITIES = ["it's ", "'S", "we'll", "'re'd", "  ", "\n\n ", "\u180e", "\u00a0 ", "\x85", "\x1c", " \u3000", "½²",
                " <mask>", "a" * 30, " -" * 20, "=" * 60]


# ---- the two sides


def reference(vocabulary, casing):
    """What transformers makes of a folder: normalizer, pre-tokenizer, WordPiece or BPE, special tokens."""
    if os.path.isdir(vocabulary):
        return RobertaTokenizerFast(vocab_file=f"{vocabulary}/vocab.json", merges_file=f"{vocabulary}/merges.txt")
    return BertTokenizerFast(vocab_file=vocabulary, do_lower_case=casing == "uncased", tokenize_chinese_chars=True)


def reference_ids(tokenizer, texts):
    decoded = [text.decode("utf-8", errors="replace") for text in texts]
    return [encoding.ids for encoding in tokenizer._tokenizer.encode_batch(decoded, add_special_tokens=False)]


def our_lines(arguments, texts):
    with tempfile.TemporaryFile() as records:
        for text in texts:
            records.write(b"%d\n%s\n" % (len(text), text))
        records.seek(0)
        out = subprocess.run([PROGRAM, *arguments], stdin=records, stdout=subprocess.PIPE, check=True).stdout
    return out.decode().split("\n")[:-1]


def our_ids(vocabulary, casing, texts):
    return [[int(word) for word in line.split()] for line in our_lines(["ids", vocabulary, casing], texts)]


# ---- texts


def glue_fields():
    """Every field of every line: sentences, and whatever stands beside them."""
    for path in sorted(glob.glob(f"{DATA}/glue/*/*.tsv") + glob.glob(f"{DATA}/glue/MRPC/*.txt")):
        with open(path, "rb") as file:
            for line in file:
                yield from line.rstrip(b"\r\n").split(b"\t")


def text_lines():
    for path in sorted(glob.glob(f"{DATA}/text/*/*")):
        with open(path, "rb") as file:
            for line in file:
                yield line.rstrip(b"\r\n")


def whole_files():
    for path in sorted(glob.glob(f"{DATA}/text/*/*") + glob.glob(f"{DATA}/glue/*/*.tsv")):
        with open(path, "rb") as file:
            yield file.read()


def unicode_8():
    """All characters assigned in Unicode 8, by Perl's tables, grouped so that rare kinds come up often."""
    script = r"""
        binmode STDOUT, ":utf8";
        my %kinds = (mark => qr/\p{M}/, control => qr/\p{Cc}|\p{Cf}/, private => qr/\p{Co}/, symbol => qr/\p{S}/,
            punctuation => qr/\p{P}/, space => qr/\p{Z}|[\t\n\r]/, hangul => qr/\p{Hangul}/, ideograph => qr/\p{Han}/,
            accented => qr/\p{L}/, number => qr/\p{N}/);
        for my $kind (sort keys %kinds) {
            for my $c (0 .. 0xD7FF, 0xE000 .. 0x10FFFF) {
                my $s = chr $c;
                next unless $s =~ /\p{Present_In: 8.0}/ && $s !~ /\p{Cn}/ && $s =~ $kinds{$kind};
                next if $kind eq "accented" && $s =~ /\p{Hangul}|\p{Han}/;
                print "$kind $c\n";
            }
        }"""
    kinds = {}
    for line in subprocess.run(["perl", "-e", script], capture_output=True, check=True, text=True).stdout.splitlines():
        kind, code = line.split()
        kinds.setdefault(kind, []).append(chr(int(code)))
    kinds["latin"] = [chr(c) for c in range(0xC0, 0x250)]
    kinds["diacritic"] = [chr(c) for c in range(0x300, 0x370)]
    kinds["emoji"] = [c for c in kinds["symbol"] if "\U0001F300" <= c <= "\U0001F6FF"]
    kinds["astral mark"] = [c for c in kinds["mark"] if c > "\uffff"]
    return kinds


def random_strings(seed, count, longest=40, specials=SPECIALS + ["[CLS", "MASK]", "[", "[mask]"], oddities=ODDITIES):
    """Bytes of strings made of all kinds of characters, with runs of marks, words, special pieces and spaces."""
    draw = random.Random(seed)
    kinds = unicode_8()
    names = sorted(kinds)
    everything = sorted(set(itertools.chain.from_iterable(kinds.values())))
    marks = kinds["mark"] + kinds["diacritic"]
    ascii_letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    for _ in range(count):
        parts, wanted = [], draw.randint(1, longest)
        favourites = draw.sample(names, 3)
        while len(parts) < wanted:
            choice = draw.random()
            if choice < 0.25:
                parts.append(draw.choice(everything))
            elif choice < 0.55:
                parts.append(draw.choice(kinds[draw.choice(favourites)]))
            elif choice < 0.80:
                parts.append("".join(draw.choices(ascii_letters, k=draw.randint(1, 5))))
            elif choice < 0.88:
                parts.append(" ")
            elif choice < 0.95:
                parts.append("".join(draw.choices(marks, k=draw.randint(2, 6))))
            elif choice < 0.97:
                parts.append(draw.choice(specials))
            else:
                parts.append(draw.choice(oddities))
        yield "".join(parts).encode()


def random_bpe_strings(seed, count, longest=40):
    specials = BPE_SPECIALS + ["<s", "mask>", "<", "<MASK>", "</", "\t<mask>"]
    return random_strings(seed, count, longest, specials, BPE_ODDITIES)


def broken_strings(seed, count, strings=random_strings):
    """Random strings with bytes changed, so that they are no longer UTF-8."""
    draw = random.Random(seed)
    for text in strings(seed + 1, count, longest=12):
        broken = bytearray(text)
        for _ in range(draw.randint(1, 4)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        yield bytes(broken)


def code_points():
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            yield f"a{chr(c)}B {chr(c)}{chr(c)}\u0345{chr(c)}\u0334\u302e".encode()


# ---- comparing


def batches(texts):
    texts = iter(texts)
    while batch := list(itertools.islice(texts, BATCH)):
        yield batch


def report(name, count, pieces, differences):
    if count == 0:
        sys.exit(f"{name}: no texts: is PAF_DATA ({DATA}) right?")
    print(f"{name:44} {count:9,} texts {pieces:11,} pieces {differences:6,} differences", flush=True)
    return differences


def show(text, theirs, ours):
    print(f"  {text!r}\n    theirs {theirs}\n    ours   {ours}")


def compare_ids(name, vocabulary, casing, texts):
    tokenizer = reference(vocabulary, casing)
    count = pieces = differences = 0
    for batch in batches(texts):
        for text, theirs, ours in zip(batch, reference_ids(tokenizer, batch), our_ids(vocabulary, casing, batch),
                                      strict=True):
            count += 1
            pieces += len(theirs)
            if theirs != ours:
                differences += 1
                if differences <= 5:
                    show(text, theirs, ours)
    return report(f"{name}, {casing}", count, pieces, differences)


def compare_words(name, casing, texts):
    """The words before WordPiece: most characters are [UNK] to the vocabulary, which would hide what became of them."""
    tokenizer = reference(BERT, casing)._tokenizer
    count = pieces = differences = 0
    for batch in batches(texts):
        for text, ours in zip(batch, our_lines(["words", casing], batch), strict=True):
            normalised = tokenizer.normalizer.normalize_str(text.decode("utf-8", errors="replace"))
            theirs = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalised)]
            theirs = [word if len(word) <= 100 else word[:100] + "..." for word in theirs]
            count += 1
            pieces += len(theirs)
            if theirs != ours.split(" ")[:-1]:
                differences += 1
                if differences <= 5:
                    show(text, theirs, ours)
    return report(f"{name}, words, {casing}", count, pieces, differences)


def compare_sizes(name, texts):
    """The words before BPE, by their sizes: each character of theirs is a byte."""
    tokenizer = reference(ROBERTA, "cased")._tokenizer
    count = pieces = differences = 0
    for batch in batches(texts):
        for text, ours in zip(batch, our_lines(["words", "bytes"], batch), strict=True):
            words = tokenizer.pre_tokenizer.pre_tokenize_str(text.decode("utf-8", errors="replace"))
            theirs = [len(word) for word, _ in words]
            count += 1
            pieces += len(theirs)
            if theirs != [int(size) for size in ours.split()]:
                differences += 1
                if differences <= 5:
                    show(text, theirs, ours)
    return report(f"{name}, words, RoBERTa", count, pieces, differences)


def compare_roberta():
    differences = compare_sizes("every code point", code_points())
    differences += compare_sizes("random strings", random_bpe_strings(1, RANDOM_STRINGS))
    differences += compare_ids("every code point", ROBERTA, "RoBERTa", code_points())
    differences += compare_ids("random strings", ROBERTA, "RoBERTa", random_bpe_strings(1, RANDOM_STRINGS))
    differences += compare_ids("random strings that are not UTF-8", ROBERTA, "RoBERTa",
                               broken_strings(2, 20000, random_bpe_strings))
    differences += compare_ids("glue, every field", ROBERTA, "RoBERTa", glue_fields())
    differences += compare_ids("text, every line", ROBERTA, "RoBERTa", text_lines())
    differences += compare_ids("glue and text, whole files", ROBERTA, "RoBERTa", whole_files())
    print("speed on text:", *our_lines(["time", ROBERTA, "cased"], text_lines()))
    print("speed on whole files:", *our_lines(["time", ROBERTA, "cased"], whole_files()))
    return differences


def compare():
    differences = compare_roberta()
    for casing in ("uncased", "cased"):
        differences += compare_words("every code point", casing, code_points())
        differences += compare_words("random strings", casing, random_strings(1, RANDOM_STRINGS))
        differences += compare_ids("random strings", BERT, casing, random_strings(1, RANDOM_STRINGS))
        differences += compare_ids("random strings that are not UTF-8", BERT, casing, broken_strings(2, 20000))
        differences += compare_ids("glue, every field", BERT, casing, glue_fields())
        differences += compare_ids("text, every line", BERT, casing, text_lines())
    print("speed on text:", *our_lines(["time", BERT, "uncased"], text_lines()))
    print(f"{differences} differences")
    return 1 if differences else 0


# ---- samples


def train(path, size, min_frequency):
    """A plain WordPiece training, to hold paf's against: every pair is counted anew for every merge."""
    tokenizer = reference(BERT, "uncased")._tokenizer
    words = {}
    for line in open(path, encoding="utf-8"):
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(line)):
            words[word] = words.get(word, 0) + 1
    spelled = [([word[0]] + ["##" + c for c in word[1:]], count) for word, count in words.items()]
    forms = {piece for pieces, _ in spelled for piece in pieces}
    vocabulary = SPECIALS + sorted(forms, key=lambda piece: (piece.startswith("##"), piece.encode()))
    while len(vocabulary) < size:
        pairs = {}
        for pieces, count in spelled:
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] = pairs.get(pair, 0) + count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair[0].encode(), pair[1].encode()))
        if pairs[best] < min_frequency:
            break
        joined = best[0] + best[1][2:]
        if joined not in vocabulary:
            vocabulary.append(joined)
        for pieces, _ in spelled:
            i = 0
            while i + 1 < len(pieces):
                if (pieces[i], pieces[i + 1]) == best:
                    pieces[i : i + 2] = [joined]
                i += 1
    return "".join(piece + "\n" for piece in vocabulary)


def byte_characters():
    """GPT-2's table: the character of each byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + i) for i, byte in enumerate(rest)}}


def train_bpe(path, folder, size, min_frequency):
    """A plain byte-level BPE training: every pair is counted anew for every merge."""
    tokenizer = reference(ROBERTA, "cased")._tokenizer
    words = {}
    for line in open(path, encoding="utf-8"):
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(line.rstrip("\n")):
            words[word] = words.get(word, 0) + 1
    spelled = [(list(word), count) for word, count in words.items()]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted(byte_characters().values())]
    merges = []
    while len(vocabulary) < size - 1:
        pairs = {}
        for pieces, count in spelled:
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] = pairs.get(pair, 0) + count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair[0].encode(), pair[1].encode()))
        if pairs[best] < min_frequency:
            break
        vocabulary.append("".join(best))
        merges.append(best)
        for pieces, _ in spelled:
            i = 0
            while i + 1 < len(pieces):
                if (pieces[i], pieces[i + 1]) == best:
                    pieces[i : i + 2] = ["".join(best)]
                i += 1
    vocabulary.append("<mask>")
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/vocab.json", "w", encoding="utf-8") as file:
        json.dump({piece: i for i, piece in enumerate(vocabulary)}, file, ensure_ascii=False, indent=2)
        file.write("\n")
    with open(f"{folder}/merges.txt", "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges))


def mixed_strings(path, seed, count, specials=SPECIALS):
    """Strings of the text's own words and characters, cut, joined, in other cases and with other accents."""
    draw = random.Random(seed)
    words = open(path, encoding="utf-8").read().split()
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(1, 6)):
            word = draw.choice(words)
            cut = draw.randint(0, len(word))
            word = draw.choice([word, word[:cut], word[cut:] + draw.choice(words), word.upper(), word.title()])
            if word and draw.random() < 0.2:
                at = draw.randint(1, len(word))
                word = word[:at] + draw.choice(["\u0301", "\u0308", "\u200d", "\u00ad", "\u302e", "!", "中"]) + word[at:]
            parts.append(draw.choice([word, word, word, word, draw.choice(specials)]))
        yield draw.choice([" ", " ", "  ", "\t", "-"]).join(parts).encode()


def write_sample(path, vocabulary, texts):
    """A JSON array of [text, ids], one a line."""
    texts = list(texts)
    ids = reference_ids(reference(vocabulary, "uncased"), texts)
    rows = [json.dumps([text.decode(), found], separators=(",", ":")) for text, found in zip(texts, ids)]
    with open(path, "w") as file:
        file.write("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"{path}: {len(texts)} texts, {os.path.getsize(path):,} bytes")


def write_samples():
    folder = "tests/reference/tokens"
    with open(f"{folder}-vocab.txt", "w", encoding="utf-8") as file:
        file.write(train(f"{folder}-text.txt", size=900, min_frequency=2))
    small = list(mixed_strings(f"{folder}-text.txt", 3, 1500)) + list(random_strings(4, 500, longest=20))
    write_sample(f"{folder}-small.json", f"{folder}-vocab.txt", small)
    write_sample(f"{folder}-bert.json", BERT, random_strings(5, 3000, longest=20))
    train_bpe(f"{folder}-text.txt", f"{folder}-bpe", size=900, min_frequency=2)
    small = list(mixed_strings(f"{folder}-text.txt", 6, 1500, BPE_SPECIALS))
    small += random_bpe_strings(7, 500, longest=10)
    write_sample(f"{folder}-bpe.json", f"{folder}-bpe", small)
    write_sample(f"{folder}-roberta.json", ROBERTA, random_bpe_strings(8, 2500, longest=10))
    return 0


if __name__ == "__main__":
    sys.exit(write_samples() if sys.argv[2] == "sample" else compare())
