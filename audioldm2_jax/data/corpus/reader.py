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

from audioldm2_jax import files
from audioldm2_jax.data.ingest import audio_files
from audioldm2_jax.data.ingest.clip_record import Entry
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.ingest.report import reason
from audioldm2_jax.errors import InputError, printable

# Audio is compressed already, and each record is read alone.
WRITER = "group_size:1,uncompressed"
VERSION = "1.0.0"
# What is counted of each split's texts: clips with captions, clips with captions or labels (which
# stand in for captions), clips with a transcript.
TEXTS = ("captioned", "described", "transcribed")


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
    sound = audio_files.check(data, name, entry.start, entry.stop)
    rate, notes = sound.sample_rate, list(sound.notes)
    if sample_rate or entry.start is not None or sound.channel:
        rate = sample_rate or min(rate, 384000)
        data, more = audio_files.flac(data, name, sound, rate, entry.start, entry.stop)
        notes += more
    texts = {"captions": list(entry.captions), "labels": list(entry.labels)}
    valid = {key: [valid_text(text) for text in values] for key, values in texts.items()}
    transcript = valid_text(entry.transcript)
    if valid != texts or transcript != entry.transcript:
        notes.append("characters that are none in its texts: replaced")
    extra = json.dumps(entry.extra, ensure_ascii=False)
    example = {
        "id": printable(entry.id),
        "audio": data,
        **valid,
        "transcript": transcript,
        "seconds": sound.seconds,
        "sample_rate": rate,
        "extra": extra.encode("utf-8", "backslashreplace").decode(),
    }
    return example, notes


def valid_text(text: str) -> str:
    """Text that UTF-8 can hold and tokenizers read: U+FFFD for lone surrogates and NUL."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")


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
    try:
        found = [folder] if is_dataset(folder) else sorted(_datasets(folder))
    except (ValueError, OSError) as error:
        raise InputError(f"{folder}: cannot look through it ({reason(error)})") from None
    if len(found) != 1:
        several = f" several ({', '.join(str(f) for f in found[:4])}); name one" if found else ""
        what = several or " none; make it with `audioldm2-jax prepare`"
        raise InputError(f"{folder}: a prepared corpus (dataset_info.json) is expected;{what}")
    for path in found[0].iterdir():
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: no ordinary file; delete the folder and make it anew")
    _check_features(found[0])
    try:
        return tfds.builder_from_directory(str(found[0]))
    except Exception as error:  # TFDS raises many kinds for a damaged folder
        raise InputError(
            f"{found[0]}: the corpus does not load ({reason(error)}); delete it and make it anew"
        ) from None


def _check_features(folder: Path) -> None:
    """Raises InputError for features that are not TFDS' own: it would import their modules."""
    own, waiting = "tensorflow_datasets.core.features.", [files.read_json(folder / "features.json")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key in ("pythonClassName", "python_class_name", "type"):
                kind = value.get(key, own)
                if isinstance(kind, str) and not kind.startswith(own):
                    raise InputError(
                        f"{folder}/features.json: the feature {kind[:80]!r} is not one of TFDS' own"
                    )
        waiting += value.values() if isinstance(value, dict) else []
        waiting += value if isinstance(value, list) else []


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
        raise InputError(f"{folder}: split {split!r} does not open ({reason(error)})") from None
    if not len(source):
        raise InputError(f"{folder}: split {split!r} holds no clips")
    return source


def describe(folder) -> dict:
    """What the corpus' description says of its making (see `build.Build`), {} for others."""
    description = open_builder(folder).info.description or ""
    try:
        found = json.loads(description)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def statistics(folder) -> dict:
    """What was counted when the corpus was made. Raises InputError where it does not say."""
    found = describe(folder).get("statistics")
    if not isinstance(found, dict):
        raise InputError(
            f"{folder}: its dataset_info.json holds no statistics; delete the folder and make it "
            "anew"
        )
    return found


def texts(folder, split: str) -> dict[str, int] | None:
    """How many clips of a split (or of several, as `a+b`) have which texts.

    clips, and those with captions (`captioned`), with captions or labels (`described`), with a
    transcript (`transcribed`). None for corpora that were made without counting.
    """
    info = open_builder(folder).info
    counts = describe(folder).get("statistics", {})
    counts = counts.get("texts") if isinstance(counts, dict) else None
    total = dict.fromkeys(("clips", *TEXTS), 0)
    for name in (re.sub(r"\[.*\]$", "", part.strip()) for part in split.split("+")):
        if not isinstance(counts, dict) or not isinstance(counts.get(name), dict):
            return None
        total["clips"] += info.splits[name].num_examples
        for key in TEXTS:
            count = counts[name].get(key)
            if type(count) is not int:
                return None
            total[key] += count
    return total
