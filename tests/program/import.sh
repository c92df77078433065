#!/bin/bash
# Models go out to Hugging Face's format and come back with the same bits, whatever the ranks; what comes in can be
# trained and evaluated; what paf cannot do is refused in one message.
. tests/support.sh
folder=$(mktemp -d)
toy=$folder/toy
toy_task "$toy"
toy_text "$toy"

export_run() { "$paf" export --export.from="$1" --export.to="$2" 2>"$folder/log" || die "$(cat "$folder/log")"; }

# import RANKS DIR RUN OPTION...
import() {
    local ranks=$1 from=$2 to=$3
    shift 3
    launch/mpi "$ranks" "$paf" import --import.from="$from" --import.to="$to" "$@" >"$to.log" 2>&1 ||
        die "$(cat "$to.log")"
}

# refuse WORDS OPTION...: import ends with 2 and one line that has these words.
refuse() {
    local words=$1 code=0
    shift
    rm -rf "$folder/refused"
    "$paf" import --import.to="$folder/refused" "$@" >"$folder/log" 2>&1 || code=$?
    [ $code = 2 ] || die "import $*: exit code $code: $(cat "$folder/log")"
    [ "$(wc -l <"$folder/log")" = 1 ] || die "import $*: not one line: $(cat "$folder/log")"
    grep -qF -- "$words" "$folder/log" || die "import $*: $(cat "$folder/log") does not say: $words"
    [ ! -e "$folder/refused" ] || die "import $*: left something behind"
}

# edit FROM TO EXPRESSION: a copy of an exported folder with its config.json edited by sed.
edit() {
    rm -rf "$2"
    cp -r "$1" "$2"
    sed -i "$3" "$2/config.json"
}

evaluate() {
    "$paf" evaluate "$1" --data.dir="$toy" --evaluate.out="$1.json" >/dev/null 2>"$1.log" || die "$(cat "$1.log")"
    sed -n 's/.*"\(accuracy\|loss\)": *\([-+.0-9e]*\).*/\1 \2/p' "$1.json"
}

for design in saf paf; do
    echo "$design: a classifier goes out and comes back"
    finetune 2 "$folder/$design" --model.design=$design --parallel.team=1+1
    export_run "$folder/$design" "$folder/out-$design"
    for ranks in 1 2 4; do
        import $ranks "$folder/out-$design" "$folder/back-$design-$ranks" --import.task="$toy/task.ini" \
            --import.max_length=24
        export_run "$folder/back-$design-$ranks" "$folder/again-$design-$ranks"
        diff -r "$folder/out-$design" "$folder/again-$design-$ranks" || die "$design on $ranks ranks: not the same"
    done
    "$paf" checkpoint verify "$folder/back-$design-4" >/dev/null || die "the import on 4 ranks is not whole"
    [ "$(evaluate "$folder/$design")" = "$(evaluate "$folder/back-$design-1")" ] || die "$design: evaluates differently"
    grep -q '"id2label"' "$folder/out-$design/config.json" || die "no labels"
done
grep -q '"model_type": "paf-bert"' "$folder/out-paf/config.json" || die "a PAF model that could be taken for SAF"
grep -q 'not used: .*attention.output.LayerNorm' "$folder/back-saf-1.log" && die "SAF: LayerNorm is not used"
[ -e "$folder/out-paf/modeling_paf.py" ] && [ ! -e "$folder/out-saf/modeling_paf.py" ] || die "modeling_paf.py"

# Published PAF models are like this, too: SAF's names, no word about the design in config.json.
echo "SAF as PAF: the LayerNorm that PAF has not is named, once"
edit "$folder/out-saf" "$folder/silent" '/layer_design/d'
import 2 "$folder/silent" "$folder/converted" --model.design=paf
norm=bert.encoder.layer.*.attention.output.LayerNorm
grep -qxF "not used: $norm.bias (3 of them), $norm.weight (3 of them)" "$folder/converted.log" ||
    die "$(cat "$folder/converted.log")"
export_run "$folder/converted" "$folder/out-dropped"
grep -q '"model_type": "paf-bert"' "$folder/out-dropped/config.json" || die "a PAF model that went out as SAF"

echo "SAF as PAF: that LayerNorm folded into the weights around it, on the way in and at the start of a run"
for ranks in 1 2 4; do
    import $ranks "$folder/out-saf" "$folder/folded-$ranks" --model.design=paf --model.conversion=fold
    export_run "$folder/folded-$ranks" "$folder/out-folded-$ranks"
    diff -r "$folder/out-folded-1" "$folder/out-folded-$ranks" || die "folded on $ranks ranks: not the same"
done
grep -q "first LayerNorm is folded" "$folder/folded-2.log" || die "$(cat "$folder/folded-2.log")"
grep -q "not used" "$folder/folded-2.log" && die "$(cat "$folder/folded-2.log")"
export_run "$folder/converted" "$folder/out-converted"
cmp -s "$folder/out-converted/model.safetensors" "$folder/out-folded-1/model.safetensors" && die "nothing was folded"
import 1 "$folder/out-paf" "$folder/folded-paf" --model.conversion=fold # has no such LayerNorm: nothing to fold
grep -q "is folded" "$folder/folded-paf.log" && die "$(cat "$folder/folded-paf.log")"
tune() { # RANKS INIT RUN OPTION...
    launch/mpi "$1" "$paf" finetune --model.init="$2" --data.task="$toy/task.ini" --data.dir="$toy" \
        --data.max_length=24 --train.max_steps=5 --run.out="$3" "${@:4}" >"$3.log" 2>&1 || die "$(cat "$3.log")"
}
tune 1 "$folder/folded-1" "$folder/tuned-import" --model.conversion=fold # PAF already
for ranks in 1 2; do
    tune $ranks "$folder/saf" "$folder/tuned-$ranks" --model.design=paf --model.conversion=fold
    grep -q "first LayerNorm is folded" "$folder/tuned-$ranks.log" || die "$(cat "$folder/tuned-$ranks.log")"
    same_losses "$folder/tuned-import" "$folder/tuned-$ranks" 1e-5
done
tune 1 "$folder/saf" "$folder/tuned-dropped" --model.design=paf
[ "$(losses "$folder/tuned-dropped" | head -n 1)" != "$(losses "$folder/tuned-1" | head -n 1)" ] || die "not folded"
cp -r "$folder/tuned-1" "$folder/resumed"
tune 1 "$folder/saf" "$folder/resumed" --model.design=paf --model.conversion=fold --train.max_steps=7 --run.resume=auto
grep -q "is folded" "$folder/resumed.log" && die "a run that is gone on with is folded again"

echo "labels in another order"
edit "$folder/out-saf" "$folder/turned" 's/"0": "a"/"0": "C"/; s/"2": "c"/"2": "A"/'
import 2 "$folder/turned" "$folder/back-turned" --import.task="$toy/task.ini" --import.max_length=24
grep -q "rows are now in the order" "$folder/back-turned.log" || die "$(cat "$folder/back-turned.log")"
[ "$(evaluate "$folder/back-turned")" != "$(evaluate "$folder/saf")" ] || die "the labels were not looked at"
export_run "$folder/back-turned" "$folder/out-turned"
edit "$folder/out-turned" "$folder/turned" 's/"0": "a"/"0": "c"/; s/"2": "c"/"2": "a"/'
import 1 "$folder/turned" "$folder/back" --import.task="$toy/task.ini" --import.max_length=24
[ "$(evaluate "$folder/back")" = "$(evaluate "$folder/saf")" ] || die "turned twice is not as it was"

echo "a masked language model goes out, comes back, and is trained on"
pretrain 2 "$folder/masked" --model.design=paf --parallel.team=1+1
export_run "$folder/masked" "$folder/out-masked"
import 2 "$folder/out-masked" "$folder/back-masked"
export_run "$folder/back-masked" "$folder/again-masked"
diff -r "$folder/out-masked" "$folder/again-masked" || die "masked LM: not the same"
grep -q ForMaskedLM "$folder/out-masked/config.json" || die "no masked-LM architecture"
init() {
    "$paf" finetune --model.init="$1" --data.task="$toy/task.ini" --data.dir="$toy" --data.max_length=24 \
        --train.max_steps=5 --run.out="$2" >"$2.log" 2>&1 || die "$(cat "$2.log")"
}
init "$folder/masked" "$folder/from-own"
init "$folder/back-masked" "$folder/from-import"
same_losses "$folder/from-own" "$folder/from-import" 0
"$paf" pretrain --model.init="$folder/back-masked" --data.tokens="$toy/tokens" --data.length=24 --train.max_steps=2 \
    --train.batch=8 --run.out="$folder/on" >"$folder/on.log" 2>&1 || die "$(cat "$folder/on.log")"

echo "refusals"
saf=$folder/out-saf
refuse "import.from is not set"
refuse "config.json" --import.from="$folder/nowhere"
for change in 's/"gelu"/"relu"/ hidden_act' 's/"absolute"/"relative_key"/ position_embedding_type' \
    's/"bert"/"t5"/ model_type' 's/"num_hidden_layers": 3/"num_hidden_layers": 4000/ encoder.layer.3999' \
    's/"intermediate_size": 192/"intermediate_size": 64/ output.dense.weight' 's/"1": "b"/"7":"b"/ id2label' \
    's/"vocab_size": .*,/"vocab_size":7,/ vocab_size' 's/{/{"is_decoder":true,/ is_decoder'; do
    edit "$saf" "$folder/changed" "${change% *}"
    refuse "${change##* }" --import.from="$folder/changed"
done
refuse "has no classifier" --import.from="$folder/out-masked" --import.task="$toy/task.ini"
refuse "2 classes, the classifier" --import.from="$saf" --import.task=sst2
cp -r "$saf" "$folder/cut" && truncate -s -4 "$folder/cut/model.safetensors"
refuse "do not lie within" --import.from="$folder/cut"
cp -r "$saf" "$folder/bare" && rm "$folder/bare/vocab.txt"
refuse "the model's vocabulary" --import.from="$folder/bare"
import 1 "$folder/bare" "$folder/own-words" --import.vocab="$toy/vocab.txt"
rm -rf "$folder/taken" && cp -r "$folder/back-saf-1" "$folder/taken"
"$paf" import --import.from="$saf" --import.to="$folder/taken" >"$folder/log" 2>&1 && die "wrote over a run"
"$paf" export --export.from="$folder/saf" --export.to="$saf" >"$folder/log" 2>&1 && die "wrote over a model"
grep -q "holds a model already" "$folder/log" || die "$(cat "$folder/log")"
rm -rf "$folder"
