"""Puts the trained models into the package, in half precision, and their judges beside benchmarks.

    python -m audioldm2_jax.recipes.nano.ship

Reads $NANO/models (default `nano`), replaces what is in audioldm2_jax/bundled and
benchmarks/judges. What the model of speech shares with that of sound is there once: `_shared_with`
in its model_index.json names the other model.
"""

from __future__ import annotations

import filecmp
import functools
import shutil
import sys
import tempfile
from pathlib import Path

from audioldm2_jax.checkpoints.index import read_json, write_json
from audioldm2_jax.configs.nano.common import FOLDER
from audioldm2_jax.files import write_folder
from audioldm2_jax.recipes.nano.build import ROOT, SHARED, SOUND, run

BUNDLED = ROOT / "audioldm2_jax" / "bundled"
JUDGES = ROOT / "benchmarks" / "judges"
MODELS = {"nano": SOUND, "nano-speech": "speech-joint"}


def ship(models: Path, target: Path) -> list[Path]:
    """The folders written; models whose last stage has not been trained are left as they are."""
    written = []
    for name, stage in MODELS.items():
        if not (models / stage).is_dir():
            continue
        with tempfile.TemporaryDirectory() as folder:
            half = Path(folder) / name
            run("convert", models / stage, half, "--dtype", "bf16", "-q")
            if name != "nano":
                _share(half, target / "nano")
            shutil.rmtree(target / name, ignore_errors=True)
            write_folder(target / name, functools.partial(_copy, half))
        written.append(target / name)
    return written


def _share(folder: Path, sound: Path) -> None:
    """Removes the folders that equal the model of sound's, and names that model in the index."""
    for part in filter(lambda part: (folder / part).is_dir(), SHARED):
        names = [file.name for file in (folder / part).iterdir()]
        _, unlike, missing = filecmp.cmpfiles(folder / part, sound / part, names, shallow=False)
        if unlike or missing:
            sys.exit(f"{part}/{(unlike + missing)[0]} is not that of {sound}: train speech anew")
        shutil.rmtree(folder / part)
    path = folder / "model_index.json"
    write_json(path, read_json(path) | {"_shared_with": sound.name})


def ship_judges(models: Path, target: Path) -> list[Path]:
    """The small classifiers as they are; those written."""
    names = [name for name in ("panns", "listener") if (models / name).is_dir()]
    for name in names:
        shutil.rmtree(target / name, ignore_errors=True)
        write_folder(target / name, functools.partial(_copy, models / name))
    return [target / name for name in names]


def _copy(folder: Path, target: Path) -> None:
    shutil.copytree(folder, target, dirs_exist_ok=True)


def main():
    models = Path(FOLDER) / "models"
    for folder in ship(models, BUNDLED) + ship_judges(models, JUDGES):
        print(folder)
    size = sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file())
    print(f"{size / 1e6:.1f} MB in all", file=sys.stderr)


if __name__ == "__main__":
    main()
