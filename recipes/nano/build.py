"""Trains the embedded models from scratch, in the published order; resumes after a stop.

    python -m audioldm2_jax.recipes.nano.build [--until STAGE]      (or: make nano)

Corpora, runs and checkpoints come to lie in $NANO (default `nano`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax.cli.main import main as command
from audioldm2_jax.configs.nano.common import FOLDER, SECONDS, TEXT_LENGTH
from audioldm2_jax.data.soundscapes import SOUND_CLASSES
from audioldm2_jax.data.soundscapes.voices import sentence_phrases
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.files import write_folder, write_text

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("--kinds", "one=0.55,overlay=0.2,sequence=0.15,music=0.1")
SPEECH = ("--speech", "1", "--voices", "plain")
# Sounds whose captions name a note every other time.
NOTES = ",".join(sorted(name for name, sound in SOUND_CLASSES.items() if sound.notes))
# Clips, seed and content. Training corpora leave out the held-out texts.
CORPORA = {
    "corpus": (40_000, 1, KINDS),
    "held": (12_000, 2, KINDS),
    "notes": (8_000, 5, ("--classes", NOTES)),
    "speech": (10_000, 3, SPEECH),
    "speech-held": (4_500, 4, SPEECH),
}
TRAINED = ("corpus", "notes", "speech")


@dataclass(frozen=True)
class Stage:
    """config: in configs/nano; before: the model that it begins with and adds its parts to."""

    config: str
    before: str


STAGES = {
    "panns": Stage("panns.py", ""),
    "audiomae": Stage("audiomae.py", "start"),
    "clap": Stage("clap.py", "audiomae"),
    "vae": Stage("vae.py", "clap"),
    "vocoder": Stage("vocoder.py", "vae"),
    "loa": Stage("loa.py", "vocoder"),
    "pretrain": Stage("pretrain.py", "loa"),
    "joint": Stage("joint.py", "pretrain"),
    "joint-notes": Stage("joint.py:notes", "joint"),
    "joint-more": Stage("joint.py:more", "joint-notes"),
    "listener": Stage("panns.py:words", ""),
    "speech-loa": Stage("loa.py:speech", "speech-start"),
    "speech-pretrain": Stage("pretrain.py:speech", "speech-loa"),
    "speech-joint": Stage("joint.py:speech", "speech-pretrain"),
}
# Before these stages the corpora are encoded: (corpora, pooling of the LOA).
ENCODED = {
    "loa": (("corpus", "held", "notes"), 4),
    "speech-loa": (("speech", "speech-held"), 1),
}
SOUND = "joint-more"  # the stage whose model of sound is the finished one
# Folders that the model of speech shares with that of sound.
SHARED = ("text_encoder", "tokenizer", "vae", "vocoder", "audiomae")


def run(*words) -> None:
    """One command of the program; ends with it if it fails."""
    words = [str(word) for word in words]
    print("audioldm2-jax", *words, file=sys.stderr, flush=True)
    if status := command(words):
        raise SystemExit(status)


def is_held_out(text: str) -> bool:
    """Whether no training clip may say this text: one in eight."""
    return zlib.crc32(text.encode()) % 8 == 0


def is_held_out_caption(caption: str) -> bool:
    """Whether no training clip may have this caption: its phrase decides, not what is around it."""
    phrase = caption.lower().rstrip(".").removesuffix(", in a large hall")
    return is_held_out(phrase.removeprefix("the sound of "))


def with_labels(line: dict) -> dict:
    """A clip of speech with its phrases as labels, for the speech classifier."""
    return line | {"labels": sentence_phrases(line["transcript"])}


def training_captions(line: dict) -> dict | None:
    """A clip with its captions that are not held out; None if nothing is left to train on."""
    if line["transcript"]:
        return None if is_held_out(line["transcript"]) else line
    texts = [line[k] for k in ("caption_1", "caption_2") if not is_held_out_caption(line[k])]
    return line | {"caption_1": texts[0], "caption_2": texts[-1]} if texts else None


def rewrite_clips(raw: Path, change) -> None:
    """Applies `change` to every clip of a corpus' list; clips that become None are left out."""
    path = raw / "metadata.jsonl"
    lines = map(change, map(json.loads, path.read_text().splitlines()))
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines if line))


def build_corpora(folder: Path) -> None:
    """Training corpora without the held-out texts, and evaluation corpora with all texts."""
    for name, (count, seed, content) in CORPORA.items():
        raw, prepared = folder / f"{name}-raw", folder / name
        if (prepared / "dataset_info.json").is_file():
            continue
        run("soundscapes", raw, "--count", count, "-dur", SECONDS, "--seed", seed, *content)
        if content is SPEECH:
            rewrite_clips(raw, with_labels)
        if name in TRAINED:
            rewrite_clips(raw, training_captions)
        run("prepare", raw, prepared, "--corpus", "soundscapes")


def precompute(folder: Path, model: Path, names: tuple[str, ...], pooling: int) -> None:
    """Precomputes what the frozen encoders compute of the corpora."""
    for name in names:
        settings = ("-dur", SECONDS, "--loa", pooling, "--text_length", TEXT_LENGTH, "-b", 32)
        target = folder / f"{name}-encoded"
        run("encode", folder / name, target, "--model_name", model, *settings, "--dtype", "fp32")


def init_model(name: str, folder: Path) -> None:
    """Writes an untrained model; that of speech shares parts with the finished one of sound."""
    model = folder / "models" / name
    if model.is_dir():
        return
    if name == "start":
        write_random(model, "nano", corpus=str(folder / "corpus"))
        return
    blank = folder / "models" / f"{name}-blank"
    if not blank.is_dir():
        write_random(blank, "nano-speech", corpus=str(folder / "speech"))

    def write(target):
        shutil.copytree(blank, target, dirs_exist_ok=True)
        for part in SHARED:
            shutil.copytree(folder / "models" / SOUND / part, target / part, dirs_exist_ok=True)

    write_folder(model, write)


def train_stage(name: str, folder: Path) -> None:
    """Trains a stage and writes its model: the one before with the trained parts."""
    stage, model, workdir = STAGES[name], folder / "models" / name, folder / "runs" / name
    before = folder / "models" / stage.before
    if stage.before.endswith("start"):
        init_model(stage.before, folder)
    if name in ENCODED:
        precompute(folder, before, *ENCODED[name])
    run("train", f"--config=nano/{stage.config}", f"--workdir={workdir}")
    run("export", workdir, model, *(["--onto", before] if stage.before else []))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    last = list(STAGES)[-1]
    until = "the last stage; `corpora` trains none, and is enough for the benchmarks"
    parser.add_argument("--until", choices=("corpora", *STAGES), default=last, help=until)
    options = parser.parse_args()
    folder = Path(FOLDER)
    build_corpora(folder)
    names = ["corpora", *STAGES]
    for name in names[1 : names.index(options.until) + 1]:
        if not (folder / "models" / name).is_dir():
            train_stage(name, folder)


if __name__ == "__main__":
    main()
