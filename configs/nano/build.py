"""Trains the embedded model from nothing, in the published order; goes on after a stop.

    python -m configs.nano.build [--until STAGE] [--fresh]      (or: make nano)

Stages whose parts lie finished in the repository (`finished.py`) are taken from there.

Corpora, runs and checkpoints come to lie in $NANO (default `nano`).
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from pathlib import Path

from audioldm2_jax.checkpoints.random import write_random
from audioldm2_jax.cli.main import main as command
from audioldm2_jax.data import parts
from configs.nano import finished
from configs.nano.common import FOLDER

ROOT = Path(__file__).parent.parent.parent
KINDS = "one=0.55,overlay=0.2,sequence=0.15,music=0.1"
CLIPS = {"corpus": (40_000, 1), "held": (12_000, 2)}  # and the seed
# The stages of sound, each exported onto the model of the one before; the tagger stands alone.
STAGES = ("tagger", "audiomae", "clap", "vae", "vocoder", "sequence", "pretrain", "joint")
ENCODED_BEFORE = "sequence"


def run(*words) -> None:
    """One command of the program; ends with it if it fails."""
    words = [str(word) for word in words]
    print("audioldm2-jax", *words, file=sys.stderr, flush=True)
    if status := command(words):
        raise SystemExit(status)


def held_out(caption: str) -> bool:
    """Whether no clip of the corpus may say this: one phrase in eight, however it is dressed."""
    phrase = caption.lower().rstrip(".").removesuffix(", in a large hall")
    return zlib.crc32(phrase.removeprefix("the sound of ").encode()) % 8 == 0


def hold_out(raw: Path) -> None:
    """Takes the captions that are held out from a corpus' list, and clips that have no others."""
    path, kept = raw / "metadata.jsonl", []
    for line in map(json.loads, path.read_text().splitlines()):
        texts = [line[k] for k in ("caption_1", "caption_2") if not held_out(line[k])]
        if texts:
            kept.append(json.dumps(line | {"caption_1": texts[0], "caption_2": texts[-1]}))
    parts.write_text(path, "\n".join(kept) + "\n")


def corpora(folder: Path) -> None:
    """The corpus without the captions that are held out, and clips of another seed with all."""
    for name, (count, seed) in CLIPS.items():
        raw, made = folder / f"{name}-raw", folder / name
        if (made / "dataset_info.json").is_file():
            continue
        run("soundscapes", raw, "--count", count, "-dur", 2.56, "--seed", seed, "--kinds", KINDS)
        if name == "corpus":
            hold_out(raw)
        run("prepare", raw, made, "--corpus", ROOT / "data/soundscapes")


def encoded(folder: Path, model: Path) -> None:
    """What the trained encoders make of the corpora."""
    for name in CLIPS:
        target = folder / f"{name}-encoded"
        settings = ("-dur", 2.56, "--loa", "4", "--text_length", 32, "-b", 32, "--dtype", "fp32")
        run("encode", folder / name, target, "--model_name", model, *settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage")
    fresh = "train every stage anew, also those that are finished in the repository"
    parser.add_argument("--fresh", action="store_true", help=fresh)
    options = parser.parse_args()
    folder = Path(FOLDER)
    corpora(folder)
    before = folder / "models" / "start"
    if not before.is_dir():
        write_random(before, "nano", corpus=str(folder / "corpus"))
    for stage in STAGES[: STAGES.index(options.until) + 1]:
        model = folder / "models" / stage
        if not model.is_dir():
            make(stage, folder, before, fresh=options.fresh)
        before = before if stage == "tagger" else model


def make(stage: str, folder: Path, before: Path, *, fresh: bool) -> None:
    """The stage's model: the one before it with what this stage gives."""
    model, workdir = folder / "models" / stage, folder / "runs" / stage
    if finished.is_finished(stage) and not fresh:
        finished.put(stage, before, model)
        return
    if stage == ENCODED_BEFORE:
        encoded(folder, before)
    run("train", f"--config={ROOT}/configs/nano/{stage}.py", f"--workdir={workdir}")
    run("export", workdir, model, *([] if stage == "tagger" else ["--onto", before]))


if __name__ == "__main__":
    main()
