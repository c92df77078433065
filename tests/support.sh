# What tests of the whole program share: sourced by tests/program/*.sh, which run at the project's root.
# shellcheck shell=bash
set -euo pipefail

paf=${BUILD:-build}/paf
over=() # what launch/mpi is run by: (launch/hosts 2) for two virtual hosts

die() { echo "$*" >&2 && exit 1; }

# toy_task FOLDER: a task that anyone may have, made by rule: sentences of made-up words in three classes, a vocabulary
# trained on them, and a small model with dropout: task.ini, train.tsv, dev.tsv, vocab.txt, model.json.
toy_task() {
    mkdir -p "$1"
    awk -v folder="$1" '
        function random(n) { seed = (seed * 69069 + 12345) % 4294967296; return int(seed / 65536) % n }
        BEGIN {
            seed = 7
            split("ba ke mi lo nu sha tri pol gan der", syllable, " ")
            for (row = 0; row < 400; row++) {
                label = random(3)
                text = ""
                for (w = 3 + random(14); w > 0; w--) {
                    # Every third word or so speaks for the class.
                    first = random(3) ? 1 + random(10) : 1 + 3 * label + random(3)
                    text = text syllable[first] syllable[1 + random(10)] (w > 1 ? " " : "")
                }
                file = folder "/" (row < 340 ? "train.tsv" : "dev.tsv")
                if (!(file in seen)) { print "text\tlabel" > file; seen[file] = 1 }
                print text "\t" substr("abc", label + 1, 1) > file
            }
        }'
    cat >"$1/task.ini" <<'END'
[task]
name = toy
metric = accuracy
label = a
label = b
label = c

[columns]
header = yes
text = 1
label = 2
END
    cut -f 1 "$1/train.tsv" >"$1/train.txt"
    "$paf" vocab --vocab.size=120 --vocab.output="$1/vocab.txt" "$1/train.txt" >/dev/null 2>&1
    cat >"$1/model.json" <<END
{"model_type": "bert", "vocab_size": $(wc -l <"$1/vocab.txt"), "hidden_size": 48, "num_hidden_layers": 3,
 "num_attention_heads": 4, "intermediate_size": 192, "max_position_embeddings": 32, "type_vocab_size": 2,
 "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-12,
 "initializer_range": 0.05}
END
}

# ends CODE MESSAGE COMMAND...: with this exit code, and MESSAGE in what it prints, which is left in $folder/output.
ends() {
    local code=$1 message=$2 got=0
    shift 2
    "$@" >"$folder/output" 2>&1 || got=$?
    [ $got = "$code" ] || die "exit code $got, not $code, of $*: $(cat "$folder/output")"
    grep -q -- "$message" "$folder/output" || die "not '$message': $(cat "$folder/output")"
}

# finetune RANKS OUT OPTION...: the toy task in $toy on RANKS ranks; what it prints goes into OUT.log.
finetune() { start "$@" && { wait $launcher || { sed "s|^|$2: |" "$2.log" >&2 && return 1; }; }; }

# start RANKS OUT OPTION...: the same in the background; the pid of launch/mpi is in $launcher.
start() {
    local ranks=$1 out=$2
    shift 2
    "${over[@]}" launch/mpi "$ranks" "$paf" finetune --data.task="$toy/task.ini" --data.dir="$toy" \
        --data.vocab="$toy/vocab.txt" --data.max_length=24 --model.config="$toy/model.json" --train.batch=16 \
        --train.lr=1e-3 --train.max_steps=20 --run.out="$out" "$@" >"$out.log" 2>&1 &
    launcher=$!
}

# toy_text FOLDER: beside a toy task, its sentences as documents (text.txt) and their token shards (tokens).
toy_text() {
    awk '{ print } NR % 7 == 0 { print "" }' "$1/train.txt" >"$1/text.txt"
    "$paf" tokenize --tokenize.vocab="$1/vocab.txt" --tokenize.output="$1/tokens" --tokenize.heldout=0.2 "$1/text.txt" \
        >"$1/tokenize.log" 2>&1 || die "$(cat "$1/tokenize.log")"
}

# pretrain RANKS OUT OPTION... and start_pretrain: the same for a masked language model on the toy text in $toy.
pretrain() { start_pretrain "$@" && { wait $launcher || { sed "s|^|$2: |" "$2.log" >&2 && return 1; }; }; }
start_pretrain() {
    local ranks=$1 out=$2
    shift 2
    "${over[@]}" launch/mpi "$ranks" "$paf" pretrain --data.tokens="$toy/tokens" --data.vocab="$toy/vocab.txt" \
        --data.length=24 --data.heldout=40 --model.config="$toy/model.json" --train.batch=8 \
        --train.lr=1e-3 --train.max_steps=20 --run.out="$out" "$@" >"$out.log" 2>&1 &
    launcher=$!
}

# losses RUN: step, loss and gradient norm of each step, a line each.
losses() {
    sed -n 's/.*"step": *\([0-9]*\).*"loss": *\([-+.0-9e]*\).*"grad_norm": *\([-+.0-9e]*\).*/\1 \2 \3/p' \
        "$1/metrics.jsonl"
}

# same_losses RUN RUN [TOLERANCE]: equal to a relative tolerance, 1e-5 if not said, 0 for to the bit; prints the largest
# difference.
same_losses() {
    paste -d ' ' <(losses "$1") <(losses "$2") | awk -v tolerance="${3:-1e-5}" -v names="$1 $2" '
        function off(a, b) { d = a - b; if (d < 0) d = -d; return d / (a > 0.001 ? a : 0.001) }
        NF != 6 || $1 != $4 { print names ": line " NR ": steps do not match: " $0; wrong = 1; exit }
        { o = off($2, $5); if (off($3, $6) > o) o = off($3, $6); if (o > worst) worst = o }
        tolerance == 0 && $2 " " $3 != $5 " " $6 { print names ": step " $1 " differs: " $0; wrong = 1 }
        END {
            if (NR < 1) { print names ": no steps"; exit 1 }
            printf "%s: %d steps, largest relative difference %.1e\n", names, NR, worst
            exit wrong || worst > tolerance
        }'
}
