"""The corpora of the study: ESC-50's shape and UrbanSound8K's, with the names of their files.

The archives go through the package's own builders `esc50` and `urbansound8k`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audioldm2_jax import audio, files
from audioldm2_jax.data.corpus.parallel import parallel_map
from audioldm2_jax.data.soundscapes import SOUND_CLASSES, dsp
from audioldm2_jax.recipes.study.field import make_recording

SECONDS = 2.56
ESC_CLASSES, ESC_CLIPS, ESC_FOLDS = 50, 40, 5
ESC_SEED, US8K_SEED, SPLIT_SEED = 50, 8, 870
# UrbanSound8K's classes, the nearest sound of ours, and a third of their clips.
US8K = {
    "fan": 333,
    "car_horn": 143,
    "bird_chirp": 333,
    "dog_bark": 333,
    "drill": 333,
    "engine_idle": 333,
    "gunshot": 125,
    "hammer": 333,
    "wailing_siren": 310,
    "plucked_string": 333,
}
US8K_FOLDS, US8K_EVALUATED = 10, 870


def esc_classes() -> list[str]:
    """Fifty classes, evenly over the sorted names of those whose nouns differ."""
    nouns: dict[str, str] = {}
    for name in sorted(SOUND_CLASSES):
        nouns.setdefault(SOUND_CLASSES[name].noun, name)
    names = sorted(nouns.values())
    return [names[i * len(names) // ESC_CLASSES] for i in range(ESC_CLASSES)]


def build_esc(folder: Path) -> None:
    """ESC-50's layout: 50 classes of 40 clips in five folds, eight of a class in each."""
    rows = []
    for target, name in enumerate(esc_classes()):
        category = SOUND_CLASSES[name].noun.replace(" ", "_")
        for i in range(ESC_CLIPS):
            source, fold = target * ESC_CLIPS + i, i % ESC_FOLDS + 1
            file = f"{fold}-{source}-A-{target}.wav"
            rows.append((source, name, SECONDS, f"audio/{file}"))
            rows[-1] += (f"{file},{fold},{target},{category},False,{source},A",)
    header = "filename,fold,target,category,esc10,src_file,take"
    _write(folder, ESC_SEED, rows, "meta/esc50.csv", header)


def build_us8k(folder: Path) -> None:
    """UrbanSound8K's layout: ten classes of unequal size, clips of up to `SECONDS`, ten folds.

    Fold 10 holds 870 clips drawn at random, which the study evaluates on; the others are even.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    names = [name for name, count in US8K.items() for _ in range(count)]
    evaluated = set(rng.permutation(len(names))[:US8K_EVALUATED].tolist())
    rows = []
    for index, name in enumerate(names):
        target, fold = list(US8K).index(name), 10 if index in evaluated else index % 9 + 1
        # Two thirds are whole, as most of the published slices are.
        seconds = SECONDS if rng.random() < 2 / 3 else round(float(rng.uniform(0.8, SECONDS)), 2)
        file = f"{index}-{target}-0-0.wav"
        category = SOUND_CLASSES[name].noun.replace(" ", "_")
        line = f"{file},{index},0.0,{seconds},1,{fold},{target},{category}"
        rows.append((index, name, seconds, f"fold{fold}/{file}", line))
    header = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    _write(folder, US8K_SEED, rows, "metadata/UrbanSound8K.csv", header)


def _write(folder: Path, seed: int, rows: list[tuple], table: str, header: str) -> None:
    """Recordings and their table; the table is last, so its presence means a whole corpus."""
    if (folder / table).is_file():
        return
    for name in {Path(row[3]).parent for row in rows}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for _ in parallel_map(functools.partial(_write_clip, folder, seed), rows, workers=2):
        pass
    lines = [header, *(row[4] for row in rows)]
    (folder / table).parent.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / table, "\n".join(lines) + "\n")


def _write_clip(folder: Path, seed: int, row: tuple) -> None:
    index, name, seconds, file, _ = row
    if not (folder / file).is_file():
        audio.save_audio(folder / file, make_recording(seed, index, name, seconds), dsp.RATE)


BUILDERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "esc": ("esc50", build_esc),
    "us8k": ("urbansound8k", build_us8k),
}
# Splits to train on, and to evaluate on.
TRAINED = {
    "esc": "+".join(f"fold{i}" for i in range(1, 5)),
    "us8k": "+".join(f"fold{i}" for i in range(1, 10)),
}
EVALUATED = {"esc": "fold5", "us8k": "fold10"}
