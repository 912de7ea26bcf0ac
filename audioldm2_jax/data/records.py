"""The form of prepared corpora: TFDS folders of ArrayRecord, read at random without TensorFlow.

An example is either audio as it was encoded (`audio_features`) or what the frozen encoders make of
it (`encode.encoded_features`).
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import numpy as np

from audioldm2_jax.data import sounds
from audioldm2_jax.data.entries import Entry
from audioldm2_jax.data.places import Unreadable
from audioldm2_jax.errors import InputError

# Audio is compressed already, and each record is read alone.
WRITER = "group_size:1,uncompressed"
VERSION = "1.0.0"


@functools.cache
def audio_features():
    """id, audio (the file), captions, labels, transcript, seconds, sample_rate, extra (JSON)."""
    import tensorflow_datasets as tfds

    text, number = tfds.features.Text, np.float32
    return tfds.features.FeaturesDict(
        {
            "id": text(),
            "audio": tfds.features.Tensor(shape=(), dtype=np.bytes_),
            "captions": tfds.features.Sequence(text()),
            "labels": tfds.features.Sequence(text()),
            "transcript": text(),
            "seconds": number,
            "sample_rate": np.int32,
            "extra": text(),
        }
    )


def audio_example(entry: Entry, sample_rate: int | None = None) -> tuple[dict, list[str]]:
    """An entry's example and notes on it. Raises Unreadable with the reason to leave it out.

    Audio stays as it is encoded; with sample_rate (Hz), where the entry is a piece of its file, or
    where the first channel is silent and another is not, it becomes mono FLAC.
    """
    if entry.place is None:
        raise Unreadable(entry.reason)
    data, name = entry.place.read(), entry.place.name
    sound = sounds.check(data, name, entry.start, entry.stop)
    rate, notes = sound.sample_rate, list(sound.notes)
    if sample_rate or entry.start is not None or sound.channel:
        rate = sample_rate or min(rate, 384000)
        data, more = sounds.flac(data, name, sound, rate, entry.start, entry.stop)
        notes += more
    example = {
        "id": entry.id,
        "audio": data,
        "captions": list(entry.captions),
        "labels": list(entry.labels),
        "transcript": entry.transcript,
        "seconds": sound.seconds,
        "sample_rate": rate,
        "extra": json.dumps(entry.extra, ensure_ascii=False),
    }
    return example, notes


def dataset_name(text: str) -> str:
    """A name that TFDS takes: lower-case letters, digits and underscores, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"corpus_{name}".rstrip("_")


def is_dataset(folder) -> bool:
    return (Path(folder) / "dataset_info.json").is_file()


def open_builder(folder):
    """A prepared corpus as TFDS reads it. Raises InputError.

    folder: the one with dataset_info.json, or one above it that holds no other corpus.
    """
    import tensorflow_datasets as tfds

    folder = Path(folder)
    found = [folder] if is_dataset(folder) else sorted(_datasets(folder))
    if len(found) != 1:
        several = f" several ({', '.join(str(f) for f in found[:4])}); name one" if found else ""
        what = several or " none; make it with `audioldm2-jax prepare`"
        raise InputError(f"{folder}: a prepared corpus (dataset_info.json) is expected;{what}")
    try:
        return tfds.builder_from_directory(str(found[0]))
    except Exception as error:  # TFDS raises many kinds for a damaged folder
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{found[0]}: the corpus does not load ({line})") from None


def _datasets(folder: Path):
    return [
        path.parent
        for depth in ("*", "*/*", "*/*/*")
        for path in folder.glob(f"{depth}/dataset_info.json")
    ]


def open_split(folder, split: str):
    """A random-access source of examples, `source[i]`. split: a name, or several as `a+b`.

    Raises InputError.
    """
    builder = open_builder(folder)
    names = sorted(builder.info.splits)
    for name in split.split("+"):
        if re.sub(r"\[.*\]$", "", name.strip()) not in names:
            raise InputError(f"{folder}: no split {name!r}; it has {' '.join(names)}")
    try:
        source = builder.as_data_source(split)
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: split {split!r} does not open ({line})") from None
    if not len(source):
        raise InputError(f"{folder}: split {split!r} holds no clips")
    return source


def describe(folder) -> dict:
    """What the corpus' description says of its making (see `build.Build`), {} for others."""
    description = open_builder(folder).info.description or ""
    try:
        found = json.loads(description)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
