#!/usr/bin/env python3
"""Holds paf's training steps against PyTorch's, on the same two cores; tests/compare/pytorch_bench runs this."""

import argparse
import importlib.metadata
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import Any

BUILD = os.environ["BUILD"]
DATA = pathlib.Path(os.environ["PAF_DATA"])
VOCABULARY = DATA / "vocab/bert-uncased/vocab.txt"
LENGTH = 128
LEARNING_RATE = 2e-5
TOLERANCE = 1e-3  # of losses, relative
DESIGNS = {"paf": "PAF 1+1", "saf": "SAF 1+1"}


@dataclass(frozen=True)
class Way:
    """A way in which PyTorch may do a case's work."""

    name: str
    target: float | None = None  # of the issue: how many times faster paf is to be
    pad: int = 0  # to this length; 0: to the longest of the batch
    masked_rows: bool = False
    compile: bool = False
    steps: int | None = None  # measured, where all steps are alike; None: as many as paf


@dataclass(frozen=True)
class Case:
    name: str
    config: str
    task: str | None  # None: masked language modelling
    batch: int
    warm: int  # steps before those that count
    steps: int  # that count, each round
    ways: tuple[Way, ...]

    @property
    def kind(self) -> str:
        return "finetune" if self.task else "pretrain"

    @property
    def total(self) -> int:
        return self.warm + self.steps


def masked(target: float) -> tuple[Way, ...]:
    return (Way("logits of all tokens", target), Way("logits of masked tokens", masked_rows=True))


def finetuning(target: float, steps: int) -> tuple[Way, ...]:
    return (Way("padded to 128", target, pad=LENGTH, steps=steps), Way("padded to the longest"))


SMALL, LARGE = "configs/models/minilm-l6.json", "configs/models/bert-large-uncased.json"
CASES = {
    "small-masked": Case("hidden 384, masked LM", SMALL, None, 16, 2, 16, masked(3)),
    "small-sst2": Case("hidden 384, SST-2", SMALL, "sst2", 32, 2, 64, finetuning(10, 16)),
    "small-mrpc": Case("hidden 384, MRPC", SMALL, "mrpc", 32, 2, 64, finetuning(4, 16)),
    "large-masked": Case("BERT-large, masked LM", LARGE, None, 16, 1, 3, masked(1.5)),
    "large-mrpc": Case("BERT-large, MRPC", LARGE, "mrpc", 32, 1, 4, finetuning(3.2, 2)),
}


def run(*command: Any, **environment: str) -> str:
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


# ---- what is learnt


def make_tokens(folder: pathlib.Path) -> pathlib.Path:
    """Token shards whose sequences are all full: lines longer than a sequence are cut wherever one is full."""
    tokens = folder / "tokens"
    paths = sorted((DATA / "text").rglob("*.txt"))[:2]
    words = " ".join(path.read_text(errors="replace") for path in paths).split()[:200_000]
    documents = (" ".join(words[at:at + 4000]) for at in range(0, len(words), 4000))
    (folder / "text.txt").write_text("\n\n".join(documents) + "\n")
    run(f"{BUILD}/paf", "tokenize", f"--tokenize.vocab={VOCABULARY}", f"--tokenize.output={tokens}",
        "--tokenize.documents=blank", folder / "text.txt")
    return tokens


def make_glue(folder: pathlib.Path) -> pathlib.Path:
    """GLUE's training sets with dev sets of a few lines: what paf evaluates at the end is not what is timed."""
    for name in "SST-2", "MRPC":
        task = folder / "glue" / name
        task.mkdir(parents=True)
        (task / "train.tsv").symlink_to((DATA / "glue" / name / "train.tsv").resolve())
        lines = (DATA / "glue" / name / "dev.tsv").read_text().splitlines(keepends=True)
        (task / "dev.tsv").write_text("".join(lines[:9]))
    return folder / "glue"


class Workplace:
    """Data, and what each of the two makes of it, in a folder."""

    def __init__(self, folder: str, torch_environment: list[str]):
        self.folder = pathlib.Path(folder)
        self.torch_environment = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        self.torch_environment |= dict(setting.split("=", 1) for setting in torch_environment)
        self.tokens, self.glue = make_tokens(self.folder), make_glue(self.folder)
        self.runs = itertools.count()

    def batches(self, case: Case, seed: int, steps: int) -> pathlib.Path:
        """Paf's, as tests/compare/pytorch_bench.c prints them."""
        path = self.folder / f"{case.kind}-{case.task}-{seed}-{steps}"
        if not path.exists():
            where = (case.task, self.glue) if case.task else (self.tokens,)
            path.write_text(run(f"{BUILD}/tests/compare/pytorch_bench", case.kind, *where, VOCABULARY, seed, steps,
                                case.batch, LENGTH))
        return path

    def paf(self, case: Case, seed: int, steps: int, team: str, lr: float, *model: str) -> dict[str, Any]:
        """Losses, tokens, and seconds of each step."""
        out = self.folder / f"run-{next(self.runs)}"
        data = [f"--data.task={case.task}", f"--data.dir={self.glue}", f"--data.max_length={LENGTH}",
                "--data.order=random"]  # the even one would give each batch a long example, and PyTorch more padding
        if not case.task:
            data = [f"--data.tokens={self.tokens}", f"--data.length={LENGTH}", "--data.heldout=2", "--data.verify=off"]
        ranks = sum(map(int, team.split("+")))
        run("launch/mpi", ranks, f"{BUILD}/paf", case.kind, *data, *model, f"--parallel.team={team}",
            f"--train.batch={case.batch}", f"--train.max_steps={steps}", f"--train.eval_every={steps}",
            f"--train.seed={seed}", f"--train.lr={lr}", "--train.optimizer=adamw", "--train.schedule=linear",
            "--train.warmup=0", "--train.weight_decay=0", "--train.beta1=0.9", "--train.beta2=0.999",
            "--train.epsilon=1e-8", "--train.clip=1", f"--run.out={out}", "--run.log_every=60")
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        lines = [line for line in lines if "tokens_per_s" in line]
        for checkpoint in out.glob("step-*"):
            shutil.rmtree(checkpoint)  # BERT-large's has gigabytes
        return {
            "losses": [line["loss"] for line in lines],
            "tokens": [line["tokens"] for line in lines],
            "seconds": [line["tokens"] / line["tokens_per_s"] for line in lines],
        }

    def torch(self, case: Case, seed: int, steps: int, batches: int, lr: float, way: Way, config: str,
              **more: str) -> dict[str, Any]:
        """The same of the first steps of a run of so many batches."""
        job = dict(kind=case.kind, config=config, batches=str(self.batches(case, seed, batches)), steps=steps,
                   schedule=batches, pad=way.pad, lr=lr, masked_rows=way.masked_rows, compile=way.compile,
                   **more)
        out = run(sys.executable, "tests/compare/pytorch_steps.py", json.dumps(job), **self.torch_environment)
        return json.loads(out.splitlines()[-1])


# ---- do they agree?


def difference(mine: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(mine, theirs, strict=True))


def say_losses(name: str, losses: list[float], more: str = "") -> None:
    print(f"  {name:8}" + "".join(f" {loss:8.5f}" for loss in losses) + more, flush=True)


def agree(place: Workplace, case: Case, steps: int = 10) -> bool:
    """Losses of SAF and of BERT from the same weights on the same batches, without dropout, on one rank and on two."""
    start = place.folder / f"start-{case.kind}"
    start.mkdir()
    config = json.loads(pathlib.Path(case.config).read_text())
    config |= dict(hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    (start / "given.json").write_text(json.dumps(config))
    theirs = place.torch(case, 1, steps, steps, 5e-4, Way("", pad=0), f"{start}/given.json", save=f"{start}/model")
    task = [f"--import.task={case.task}"] if case.task else []
    run(f"{BUILD}/paf", "import", f"--import.from={start}/model", f"--import.to={start}/paf",
        f"--import.vocab={VOCABULARY}", *task)
    print(f"{case.name}, dropout off, the same weights and batches; losses and the largest difference, relative:")
    say_losses("PyTorch", theirs["losses"])
    good = True
    for team in "1", "1+1":
        mine = place.paf(case, 1, steps, team, 5e-4, f"--model.init={start}/paf", "--model.design=saf")
        apart = difference(mine["losses"], theirs["losses"])
        good = good and apart < TOLERANCE
        say_losses(f"paf {team}", mine["losses"], f"  {apart:.1e}" + ("" if apart < TOLERANCE else "  WRONG"))
    return good


# ---- how fast are they?


@dataclass
class Figure:
    """Of one way and one design: what the rounds gave."""

    case: str
    way: str
    design: str
    target: float | None
    torch: list[float]  # seconds a step, by round
    paf: list[float]

    def ratios(self) -> list[float]:
        return [theirs / mine for theirs, mine in zip(self.torch, self.paf)]

    def line(self) -> str:
        ratios, wanted = sorted(self.ratios()), f"{self.target:g}" if self.target and self.design == "paf" else ""
        return (f"{self.case:22} {self.way:24} {DESIGNS[self.design]:8} {statistics.median(self.torch):9.3f} "
                f"{statistics.median(self.paf):9.3f} {statistics.median(ratios):7.2f}  {ratios[0]:5.2f} to "
                f"{ratios[-1]:5.2f} {wanted:>7}")


HEADER = (f"{'case':22} {'PyTorch':24} {'paf':8} {'PyTorch s':>9} {'paf s':>9} {'ratio':>7}  {'over rounds':14} "
          f"{'target':>7}")


def mean(values: list[float], first: int) -> float:
    return statistics.fmean(values[first:])


def measure_round(place: Workplace, case: Case, seed: int, figures: dict[tuple[str, str], Figure]) -> None:
    """One round: paf, torch, paf, torch, ... Every process warms up, and all work on the same batches."""
    designs, seconds = list(DESIGNS), {}
    for at in range(max(len(designs), len(case.ways))):
        if at < len(designs):
            model = [f"--model.config={case.config}", f"--model.design={designs[at]}", f"--data.vocab={VOCABULARY}"]
            seconds[designs[at]] = place.paf(case, seed, case.total, "1+1", LEARNING_RATE, *model)["seconds"]
        if at < len(case.ways):
            way = case.ways[at]
            steps = case.warm + min(way.steps or case.steps, case.steps)
            found = place.torch(case, seed, steps, case.total, LEARNING_RATE, way, case.config)
            seconds[way.name] = found["seconds"]
    for way in case.ways:
        for design in designs:
            figure = figures.setdefault((way.name, design), Figure(case.name, way.name, design, way.target, [], []))
            figure.torch.append(mean(seconds[way.name], case.warm))
            figure.paf.append(mean(seconds[design], case.warm))


def measure(place: Workplace, case: Case, rounds: int) -> list[Figure]:
    figures: dict[tuple[str, str], Figure] = {}
    for number in range(rounds):
        print(f"{case.name}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        measure_round(place, case, number + 1, figures)
    for figure in figures.values():
        print(figure.line(), flush=True)
    return list(figures.values())


def with_compiled(case: Case) -> Case:
    more = tuple(Way(f"{way.name}, compiled", pad=way.pad, compile=True, steps=way.steps)
                 for way in case.ways if way.target)
    return replace(case, ways=case.ways + more)


# ---- the command


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/compare/pytorch_bench", description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="with commas between; may be empty [%(default)s]")
    parser.add_argument("--rounds", type=int, default=2, help="each with batches of its own [%(default)s]")
    parser.add_argument("--steps", type=int, help="that count, instead of those of the case")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, where batches have one shape")
    parser.add_argument("--no-check", action="store_true", help="do not compare losses first")
    parser.add_argument("--torch-env", nargs="*", default=[], metavar="NAME=VALUE", help="such as OMP_PROC_BIND=true")
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args()
    options.cases = options.cases.split(",") if options.cases else []
    for name in options.cases:
        if name not in CASES:
            parser.error(f"no such case: {name}; there are {', '.join(CASES)}")
    if not all("=" in setting for setting in options.torch_env):
        parser.error("--torch-env takes NAME=VALUE")
    if options.rounds < 1 or (options.steps or 1) < 1:
        parser.error("--rounds and --steps are 1 or more")
    return options


def main() -> None:
    options = parse()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    good, figures = True, []
    with tempfile.TemporaryDirectory(dir=f"{BUILD}/compare-pytorch") as folder:
        place = Workplace(folder, options.torch_env)
        if not options.no_check:
            good = all([agree(place, CASES[name]) for name in ("small-mrpc", "small-masked")])
        print("Seconds a step, medians over rounds:\n" + HEADER)
        for name in options.cases:
            case = CASES[name]
            if options.steps:
                case = replace(case, steps=options.steps)
            figures += measure(place, with_compiled(case) if options.compile else case, options.rounds)
    if options.json:
        rows = [vars(figure) | {"ratio": statistics.median(figure.ratios())} for figure in figures]
        result = {"versions": versions, "agree": good, "figures": rows}
        pathlib.Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
