"""Corpora, pre-training and the runs of the study; goes on after a stop.

    python -m audioldm2_jax.recipes.study.build [--seeds 0 1 2] [--until corpora|pretrain]

Everything comes to lie in $STUDY (default `study`). recipes/study/scores.py evaluates the runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.configs.study.audioldm import FOLDER, STEPS
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.recipes.nano.build import run
from audioldm2_jax.recipes.study.corpora import BUILDERS, SECONDS, TRAINED

PRETRAINING = ("--count", 16_000, "--seed", 7)


@dataclass(frozen=True)
class Run:
    """One training of the study. corpus: of BUILDERS; condition: text or audio, in training."""

    corpus: str
    pretrained: bool
    condition: str
    seed: int

    @property
    def name(self) -> str:
        start = "pretrained" if self.pretrained else "scratch"
        return f"{self.corpus}-{start}-{self.condition}-{self.seed}"


def runs(seeds) -> list[Run]:
    """All runs: the first seed's first, so that one table is complete before the next begins."""
    cells = itertools.product(seeds, BUILDERS, (True, False), ("text", "audio"))
    return [Run(corpus, start, condition, seed) for seed, corpus, start, condition in cells]


def build_corpora(folder: Path) -> None:
    """The corpora, prepared by the package's builders and encoded by the embedded model."""
    raw, names = folder / "raw", {"plain": "soundscapes"}
    for name, (builder, build) in BUILDERS.items():
        build(raw / name)
        names[name] = builder
    if not (folder / "plain" / "dataset_info.json").is_file():
        run("soundscapes", raw / "plain", *PRETRAINING, "-dur", SECONDS)
    for name, builder in names.items():
        if not (folder / name / "dataset_info.json").is_file():
            run("prepare", raw / name, folder / name, "--corpus", builder)
        settings = ("-dur", SECONDS, "--text_length", 32, "-b", 32, "--dtype", "fp32")
        run("encode", folder / name, folder / f"{name}-encoded", "--model", "nano", *settings)


def init_model(folder: Path) -> None:
    """The untrained model: the embedded one's CLAP, VAE and vocoder, and a random U-Net."""
    target = folder / "models" / "start"
    if target.is_dir():
        return
    trained = hub.load(download.locate("nano"))
    start = random_checkpoint(PRESETS["nano-audioldm"]())
    shared = ("clap", "vae", "vocoder")
    config = dataclasses.replace(
        start.config, **{name: getattr(trained.config, name) for name in shared}
    )
    start.params |= {name: trained.params[name] for name in shared}
    tokenizers = {"tokenizer": trained.tokenizers["tokenizer"]}
    hub.save(dataclasses.replace(start, config=config, tokenizers=tokenizers), target)


def pretrain(folder: Path) -> None:
    """The pre-trained model, on CLAP's vector of the sound, as AudioLDM's."""
    if not (folder / "models" / "pretrained").is_dir():
        run("train", "--config=study/audioldm:pretrain", f"--workdir={folder}/runs/pretrain")
        run("export", folder / "runs" / "pretrain", folder / "models" / "pretrained")


def finetune(folder: Path, cell: Run) -> None:
    """One run, and the checkpoint of each step that is evaluated."""
    workdir, start = folder / "runs" / cell.name, "pretrained" if cell.pretrained else "start"
    missing = [step for step in STEPS if not (folder / "models" / cell.name / str(step)).is_dir()]
    if not missing:
        return
    values = {
        "base_checkpoint": folder / "models" / start,
        "init_from_base": cell.pretrained,
        "settings.p_clap_audio": float(cell.condition == "audio"),
        "data.sources": f"{folder}/{cell.corpus}-encoded:{TRAINED[cell.corpus]}",
        "seed": cell.seed,
    }
    options = [f"--config.{name}={value}" for name, value in values.items()]
    run("train", "--config=study/audioldm:finetune", f"--workdir={workdir}", *options)
    for step in missing:
        target = folder / "models" / cell.name / str(step)
        run("export", workdir, target, "--step", step)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    parser.add_argument("--until", choices=("corpora", "pretrain", "runs"), default="runs")
    options = parser.parse_args()
    folder = Path(FOLDER)
    build_corpora(folder)
    if options.until == "corpora":
        return
    init_model(folder)
    pretrain(folder)
    for cell in runs(options.seeds) if options.until == "runs" else ():
        finetune(folder, cell)


if __name__ == "__main__":
    main()
