"""All stages in their order, at toy size on the synthetic corpus: each visibly learns.

    python benchmarks/learning.py [--folder DIR] [--clips 16000]

Makes the corpus, trains each stage by its `:tiny` configuration on what the stages before it gave,
and holds figures on held-out clips against what a network that learned nothing would reach. Goes on
where it was stopped. Writes benchmarks/results/learning.json and docs/learning.png, prints
the table of docs/training.md, and ends with an error if a figure misses its bar.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import files
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.cli.main import main as command
from audioldm2_jax.data.loading.batches import arrays
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.training.base_checkpoint import with_audiomae
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.export import export
from audioldm2_jax.training.loop import train
from audioldm2_jax.training.run import open_batches, open_run
from audioldm2_jax.training.validation import make_measure

ROOT = Path(__file__).parent.parent
COMMON = "log_every=25 save_every=200 optim.warmup=50 validation.batches=4 validation.every=100"
# What each stage changes of its `:tiny` configuration.
STAGES = {
    "panns": "batch=32 steps=900 optim.learning_rate=2e-3 settings.mixup=False",
    "audiomae": "batch=32 steps=1200 optim.learning_rate=2e-3 optim.steps=1200",
    "clap": "batch=64 steps=900 optim.learning_rate=3e-3 validation.batches=8",
    "vae": "batch=8 steps=900 optim.learning_rate=1e-3 settings.kl_weight=10.0 "
    "settings.discriminator_start=600",
    "vocoder": "batch=8 steps=900 optim.learning_rate=1e-3",
    "loa": "batch=32 steps=900 optim.learning_rate=2e-3 settings.rollout_weight=0.25",
    "pretrain": "batch=16 steps=600 optim.learning_rate=2e-3 settings.poolings=2,4,8",
    "joint": "batch=16 steps=300 optim.learning_rate=1e-3",
    "audioldm": "batch=16 steps=600 optim.learning_rate=2e-3 settings.p_clap_audio=0.5",
}
DIFFUSION = ("pretrain", "joint", "audioldm")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A metric of held-out clips at the end, and what it is held against: a number, another metric
    of the end, or the same metric at the start. Passed if better by `factor`.
    """

    metric: str
    against: str | float
    factor: float
    higher: bool = False


FIGURES = {
    "panns": Figure("valid/top", "chance", 10, higher=True),
    "audiomae": Figure("valid/loss", 1.0, 1.25),
    "clap": Figure("valid/retrieval", 1 / 64, 10, higher=True),
    "vae": Figure("valid/generator/l1", "start", 3),
    "vocoder": Figure("valid/generator/mel", "start", 3),
    "loa": Figure("valid/free", "valid/mean", 1.1),
    "pretrain": Figure("conditional", "unconditional - 3 errors", 1),
    "joint": Figure("conditional", "unconditional - 3 errors", 1),
    "audioldm": Figure("conditional", "unconditional - 3 errors", 1),
}


class Compared:
    """A hook: the diffusion loss with every condition and with none, on the same noise.

    The loss without conditions less three standard errors of the difference is the bound that the
    loss with conditions has to be below.
    """

    COUNT = 16  # Batches; their differences give the error.

    def __init__(self, config):
        self.every, self._runs = 2 * config.validation.every, {}
        for name, drop in (("conditional", 0.0), ("unconditional", 1.0)):
            changed = config.copy_and_resolve_references()
            with changed.unlocked():
                changed.settings.cond_dropout = drop
            self._runs[name] = jax.jit(make_measure(open_run(changed).spec.stage))
        run = open_run(config)
        with jax.set_mesh(run.mesh), open_batches(run, config.validation.sources, 1) as batches:
            self._batches = [arrays(b) for b, _ in zip(batches, range(self.COUNT))]

    def __call__(self, step, state, frozen):
        losses = {}
        for name, measure in self._runs.items():
            values = [
                measure(state, frozen, batch, jnp.int32(number))
                for number, batch in enumerate(self._batches)
            ]
            key = "diffusion" if "diffusion" in values[0] else "loss"
            losses[name] = np.array([float(v[key]) for v in values])
        error = (losses["unconditional"] - losses["conditional"]).std(ddof=1) / self.COUNT**0.5
        means = {name: float(values.mean()) for name, values in losses.items()}
        return means | {"unconditional - 3 errors": means["unconditional"] - 3 * float(error)}


def corpora(folder: Path, clips: int) -> list[str]:
    """Overrides that name the corpus and one of 600 other clips."""
    for name, count, seed in (("train", clips, 1), ("held", 600, 2)):
        raw, outputs = folder / f"{name}-raw", folder / name
        if (outputs / "dataset_info.json").is_file():
            continue
        sounds = ["soundscapes", raw, "--count", count, "-dur", 1.28, "--seed", seed, "-q"]
        for words in (
            sounds,
            ["prepare", raw, outputs, "--corpus", ROOT / "data/soundscapes", "-q"],
        ):
            if command([str(word) for word in words]):
                raise SystemExit(f"{outputs}: not made")
    return [f"data.sources={folder}/train", f"validation.sources={folder}/held:train+validation"]


def first_start(folder: Path) -> Path:
    """An untrained AudioLDM 2 with its tokenizers."""
    target = folder / "start"
    if not target.is_dir():
        hub.save(random_checkpoint(with_audiomae(PRESETS["tiny"]())), target)
    return target


def audioldm_start(folder: Path, trained: Path) -> Path:
    """An untrained AudioLDM with the trained CLAP, VAE and vocoder."""
    target = folder / "start-audioldm"
    if not target.is_dir():
        checkpoint, loaded = random_checkpoint(PRESETS["tiny-audioldm"]()), hub.load(trained)
        for name in ("clap", "vae", "vocoder"):
            checkpoint.params[name] = loaded.params[name]
        for scale in ("text_logit_scale", "audio_logit_scale"):
            checkpoint.params["clap"].pop(scale, None)
        hub.save(
            dataclasses.replace(
                checkpoint, tokenizers={"tokenizer": loaded.tokenizers["tokenizer"]}
            ),
            target,
        )
    return target


def run_stage(name: str, folder: Path, start: Path, data: list[str]) -> tuple[Path, float]:
    """Trains; (the checkpoint that the next stage starts from, seconds)."""
    workdir, target = folder / "runs" / name, folder / "models" / name
    texts = [*COMMON.split(), *STAGES[name].split(), *data]
    if name != "panns":
        texts.append(f"base_checkpoint={start}")
    if name in DIFFUSION:
        texts.append("latent_scale=batch")
    file = f"{ROOT}/configs/{name}.py:tiny"
    config = read_config(file, [f"--config.{text}" for text in texts])
    hooks = [Compared(config)] if name in DIFFUSION else []
    begin = time.perf_counter()
    train(config, workdir, hooks=hooks)
    seconds = time.perf_counter() - begin
    if name == "panns":
        return start, seconds
    if not target.is_dir():
        export(workdir, target)
    return target, seconds


def curves(folder: Path, name: str) -> dict[str, list]:
    """{metric: [(step, value), ...]} of a run; the last line of a step counts."""
    results: dict[str, dict] = {}
    for line in (folder / "runs" / name / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        for key, value in values.items():
            results.setdefault(key, {})[values["step"]] = value
    return {key: sorted(points.items()) for key, points in results.items()}


def summarise(name: str, lines: dict, classes: int) -> dict:
    """The figure, what it is held against, and whether it passed."""
    figure = FIGURES[name]
    value, against = lines[figure.metric][-1][1], figure.against
    if against == "start":
        against = lines[figure.metric][0][1]
    elif against == "chance":
        against = 1 / classes
    elif isinstance(against, str):
        against = lines[against][-1][1]
    ratio = value / against if figure.higher else against / value
    return {
        "metric": figure.metric,
        "value": value,
        "against": against,
        "what": figure.against if isinstance(figure.against, str) else "nothing learned",
        "ratio": ratio,
        "bar": figure.factor,
        "passed": ratio >= figure.factor,
    }


def plot(folder: Path, figures: dict, path: Path) -> None:
    """Each stage's curve and the line that it is held against."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(3, 3, figsize=(13, 9), constrained_layout=True)
    for axis, (name, figure) in zip(axes.flat, figures.items()):
        (_differences if name in DIFFUSION else _values)(axis, figure, curves(folder, name))
        axis.set_xlabel("step")
        axis.legend()
        axis.set_title(
            f"{name}: {figure['ratio']:.4g} times better (bar {figure['bar']:g})", size=10
        )
    drawing.savefig(path, dpi=70)


def table(figures: dict) -> str:
    """Markdown."""
    rows = [
        "| stage | held out | value | held against | value | times better | bar | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, f in figures.items():
        rows.append(
            f"| {name} | {f['metric']} | {f['value']:.4g} | {f['what']} | {f['against']:.4g} | "
            f"{f['ratio']:.4g} | {f['bar']:g} | {f['seconds'] / 60:.0f} |"
        )
    return "\n".join(rows)


def _values(axis, figure, lines):
    axis.plot(*zip(*lines[figure["metric"]]), label=figure["metric"])
    if figure["what"] in lines:
        axis.plot(*zip(*lines[figure["what"]]), "--", label=figure["what"])
    else:
        axis.axhline(figure["against"], ls="--", color="tab:orange", label=figure["what"])
    axis.set_ylim(bottom=0)


def _differences(axis, figure, lines):
    """What the condition spares of the loss, less three standard errors.

    Without the first point: at random weights the loss is of another order of magnitude.
    """
    pairs = zip(lines[figure["what"]], lines[figure["metric"]])
    points = [(step, without - by) for (step, without), (_, by) in pairs][1:]
    axis.plot(*zip(*points), "o-", label=f"({figure['what']}) - {figure['metric']}")
    axis.axhline(0.0, ls="--", color="tab:orange")
    axis.set_xlim(left=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(tempfile.gettempdir()) / "audioldm2-learning"
    parser.add_argument("--folder", type=Path, default=default, help="corpora, runs and models")
    parser.add_argument("--clips", type=int, default=16_000, help="of the corpus, 1.28 s each")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    data = corpora(folder, options.clips)
    classes = len(json.loads((folder / "train" / "classes.json").read_text()))
    path, start, figures = ROOT / "benchmarks/results/learning.json", first_start(folder), {}
    old = json.loads(path.read_text())["stages"] if path.is_file() else {}
    for name in STAGES:
        begin = audioldm_start(folder, start) if name == "audioldm" else start
        following, seconds = run_stage(name, folder, begin, data)
        start = start if name == "audioldm" else following
        figures[name] = summarise(name, curves(folder, name), classes)
        # A stage that was already trained keeps its old time.
        figures[name]["seconds"] = max(seconds, old.get(name, {}).get("seconds", 0.0))
        print(f"{name}: {json.dumps(figures[name])}", file=sys.stderr)
    results = {
        "date": str(datetime.date.today()),
        "hardware": f"{platform.processor() or platform.machine()}, {jax.device_count()} device",
        "versions": {n: metadata.version(n) for n in ("jax", "flax", "optax")},
        "clips": options.clips,
        "stages": figures,
    }
    files.write_json(path, results)
    plot(folder, figures, ROOT / "docs/learning.png")
    print(table(figures))
    if missed := [name for name, figure in figures.items() if not figure["passed"]]:
        raise SystemExit(f"below the bar: {' '.join(missed)}")


if __name__ == "__main__":
    main()
