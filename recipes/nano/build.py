"""Trains the embedded models from nothing, in the published order; goes on after a stop.

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
# Clips, seed and content; of those that train, what is held out is left out.
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


def drawn(text: str) -> bool:
    """One text in eight: what no clip that trains may say."""
    return zlib.crc32(text.encode()) % 8 == 0


def held_out(caption: str) -> bool:
    """Whether no clip of the corpus may say this: one phrase in eight, however it is dressed."""
    phrase = caption.lower().rstrip(".").removesuffix(", in a large hall")
    return drawn(phrase.removeprefix("the sound of "))


def labelled(line: dict) -> dict:
    """A clip of speech with labels for a listener to learn: the phrases that are said."""
    return line | {"labels": sentence_phrases(line["transcript"])}


def trained(line: dict) -> dict | None:
    """A clip with the captions that may be trained on, if any; of speech, if its words may."""
    if line["transcript"]:
        return None if drawn(line["transcript"]) else line
    texts = [line[k] for k in ("caption_1", "caption_2") if not held_out(line[k])]
    return line | {"caption_1": texts[0], "caption_2": texts[-1]} if texts else None


def rewrite(raw: Path, change) -> None:
    """A corpus' list with each clip as `change` gives it, without those that it makes None."""
    path = raw / "metadata.jsonl"
    lines = map(change, map(json.loads, path.read_text().splitlines()))
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines if line))


def corpora(folder: Path) -> None:
    """Those that train, without what is held out, and clips of other seeds with everything."""
    for name, (count, seed, content) in CORPORA.items():
        raw, made = folder / f"{name}-raw", folder / name
        if (made / "dataset_info.json").is_file():
            continue
        run("soundscapes", raw, "--count", count, "-dur", SECONDS, "--seed", seed, *content)
        if content is SPEECH:
            rewrite(raw, labelled)
        if name in TRAINED:
            rewrite(raw, trained)
        run("prepare", raw, made, "--corpus", "soundscapes")


def encoded(folder: Path, model: Path, names: tuple[str, ...], pooling: int) -> None:
    """What the trained encoders make of the corpora."""
    for name in names:
        settings = ("-dur", SECONDS, "--loa", pooling, "--text_length", TEXT_LENGTH, "-b", 32)
        target = folder / f"{name}-encoded"
        run("encode", folder / name, target, "--model_name", model, *settings, "--dtype", "fp32")


def begin(name: str, folder: Path) -> None:
    """An untrained model; of speech, with what it shares with the finished one of sound."""
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


def make(name: str, folder: Path) -> None:
    """The stage's model: the one before it with what this stage gives."""
    stage, model, workdir = STAGES[name], folder / "models" / name, folder / "runs" / name
    before = folder / "models" / stage.before
    if stage.before.endswith("start"):
        begin(stage.before, folder)
    if name in ENCODED:
        encoded(folder, before, *ENCODED[name])
    run("train", f"--config=nano/{stage.config}", f"--workdir={workdir}")
    run("export", workdir, model, *(["--onto", before] if stage.before else []))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    last = list(STAGES)[-1]
    until = "the last stage; `corpora` trains none, and is enough for the benchmarks"
    parser.add_argument("--until", choices=("corpora", *STAGES), default=last, help=until)
    options = parser.parse_args()
    folder = Path(FOLDER)
    corpora(folder)
    names = ["corpora", *STAGES]
    for name in names[1 : names.index(options.until) + 1]:
        if not (folder / "models" / name).is_dir():
            make(name, folder)


if __name__ == "__main__":
    main()
