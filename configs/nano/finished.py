"""Parts of the embedded model whose stages are finished, in half precision beside these files.

    python -m configs.nano.finished vae clap      # takes them from $NANO/models

`make nano` goes on from them; `--fresh` trains them anew.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from audioldm2_jax.checkpoints.hub import write_beside
from audioldm2_jax.cli.main import main as command
from configs.nano.common import FOLDER

PLACE = Path(__file__).parent / "finished"
_LANGUAGE = ("language_model", "projection_model", "text_encoder_2")
# What a stage gives of a checkpoint, folders or files. CLAP's tokens are of the start's tokenizers;
# the VAE's description holds the scale of its latents, which pre-training finds.
PARTS = {
    "tagger": (".",),
    "audiomae": ("audiomae",),
    "clap": ("text_encoder", "tokenizer", "tokenizer_2"),
    "vae": ("vae",),
    "vocoder": ("vocoder",),
    "sequence": _LANGUAGE,
    "pretrain": ("unet", "vae/config.json"),
    "joint": ("unet", *_LANGUAGE),
    "listener": (".",),
    "speech-sequence": _LANGUAGE,
    "speech-pretrain": ("unet",),
    "speech-joint": ("unet", *_LANGUAGE),
}


def is_finished(stage: str) -> bool:
    return all((PLACE / stage / name).exists() for name in PARTS[stage])


def _copy(source: Path, target: Path) -> None:
    """A folder or a file, over what is there."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def put(stage: str, before: Path, model: Path) -> None:
    """Makes `model` of the checkpoint before it, with the stage's finished parts."""

    def write(folder):
        if PARTS[stage] != (".",):
            _copy(before, folder)
        for name in PARTS[stage]:
            _copy(PLACE / stage / name, folder / name)

    write_beside(model, write)


def keep(stage: str, model: Path) -> None:
    """Takes a stage's parts from the model that it gave; the small classifier as it is."""
    if PARTS[stage] == (".",):
        _copy(model, PLACE / stage)
        return
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "half"
        if status := command(["convert", str(model), str(half), "--dtype", "bf16"]):
            raise SystemExit(status)
        for name in PARTS[stage]:
            _copy(half / name, PLACE / stage / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="+", choices=PARTS)
    for stage in parser.parse_args().stages:
        model = Path(FOLDER) / "models" / stage
        if not model.is_dir():
            sys.exit(f"{model}: missing; has the stage been exported?")
        keep(stage, model)
        print(stage, *PARTS[stage])


if __name__ == "__main__":
    main()
