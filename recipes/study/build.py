"""Corpora and the pre-trained model of the study; goes on after a stop.

    python -m audioldm2_jax.recipes.study.build [--until corpora]

Everything comes to lie in $STUDY (default `study`). The tables small_study_* of configs/tables
train and score the runs: `audioldm2-jax reproduce`.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.configs.study.audioldm import FOLDER
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.recipes.nano.build import run
from audioldm2_jax.recipes.study.corpora import BUILDERS, SECONDS

PRETRAINING = ("--count", 16_000, "--seed", 7)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--until", choices=("corpora", "pretrain"), default="pretrain")
    until, folder = parser.parse_args().until, Path(FOLDER)
    build_corpora(folder)
    if until == "pretrain":
        init_model(folder)
        pretrain(folder)


if __name__ == "__main__":
    main()
