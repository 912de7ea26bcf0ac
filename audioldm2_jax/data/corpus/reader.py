"""Reads prepared corpora: TFDS folders of ArrayRecord, at random and without TensorFlow.

An example holds either the audio as it was encoded (`examples.audio_features`) or the outputs of
the frozen encoders (`precompute.encoded_features`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.data.ingest.report import error_reason
from audioldm2_jax.errors import InputError

VERSION = "1.0.0"
# What is counted for each split: clips with captions, with captions or labels (labels stand in for
# captions), with a transcript.
TEXT_COUNTS = ("captioned", "described", "transcribed")


def is_corpus(folder) -> bool:
    """Whether a folder holds a finished corpus."""
    return (Path(folder) / "dataset_info.json").is_file()


def open_builder(folder):
    """Opens a prepared corpus as a TFDS builder.

    folder: the one with dataset_info.json, or a folder above it that holds no other corpus. Raises
    InputError for none or several corpora, and for a damaged one.
    """
    import tensorflow_datasets as tfds

    folder = Path(folder)
    try:
        folders = [folder] if is_corpus(folder) else sorted(_datasets(folder))
    except (ValueError, OSError) as error:
        raise InputError(f"{folder}: cannot look through it ({error_reason(error)})") from None
    if len(folders) != 1:
        names = ", ".join(map(str, folders[:4]))
        several = f" several ({names}); name one" if folders else ""
        what = several or " none; make it with `audioldm2-jax prepare`"
        raise InputError(f"{folder}: a prepared corpus (dataset_info.json) is expected;{what}")
    (folder,) = folders
    for path in folder.iterdir():
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: no ordinary file; delete the folder and make it anew")
    _check_features(folder)
    try:
        return tfds.builder_from_directory(str(folder))
    except Exception as error:  # TFDS raises many kinds for a damaged folder
        raise InputError(
            f"{folder}: the corpus does not load ({error_reason(error)}); delete it "
            "and make it anew"
        ) from None


def _check_features(folder: Path) -> None:
    """Raises InputError for features from outside TFDS: TFDS would import their modules."""
    own, pending = "tensorflow_datasets.core.features.", [files.read_json(folder / "features.json")]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for key in ("pythonClassName", "python_class_name", "type"):
                kind = value.get(key, own)
                if isinstance(kind, str) and not kind.startswith(own):
                    raise InputError(
                        f"{folder}/features.json: the feature {kind[:80]!r} is not one of TFDS' own"
                    )
        pending += value.values() if isinstance(value, dict) else []
        pending += value if isinstance(value, list) else []


def _datasets(folder: Path):
    return [
        path.parent
        for depth in ("*", "*/*", "*/*/*")
        for path in folder.glob(f"{depth}/dataset_info.json")
    ]


def open_split(folder, split: str):
    """Opens a split as a random-access source of examples, `source[i]`.

    split: a name, or several as `a+b`. Raises InputError for an unknown or empty split.
    """
    builder = open_builder(folder)
    names = sorted(builder.info.splits)
    for name in split.split("+"):
        if re.sub(r"\[.*\]$", "", name.strip()) not in names:
            raise InputError(f"{folder}: no split {name!r}; it has {' '.join(names)}")
    try:
        source = builder.as_data_source(split)
    except Exception as error:
        raise InputError(
            f"{folder}: split {split!r} does not open ({error_reason(error)})"
        ) from None
    if not len(source):
        raise InputError(f"{folder}: split {split!r} holds no clips")
    return source


def read_description(folder) -> dict:
    """The metadata that `CorpusWriter` stores in the description; {} for other corpora."""
    description = open_builder(folder).info.description or ""
    try:
        metadata = json.loads(description)
    except (ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def read_statistics(folder) -> dict:
    """The counts from the preparation of the corpus. Raises InputError where there are none."""
    counts = read_description(folder).get("statistics")
    if not isinstance(counts, dict):
        raise InputError(
            f"{folder}: its dataset_info.json holds no statistics; delete the folder and make it "
            "anew"
        )
    return counts


def text_counts(folder, split: str) -> dict[str, int] | None:
    """Counts the clips of a split (or of several, as `a+b`) by the texts that they have.

    `clips`: all; `captioned`: with captions; `described`: with captions or labels; `transcribed`:
    with a transcript. Returns None for corpora without these counts.
    """
    info = open_builder(folder).info
    counts = read_description(folder).get("statistics", {})
    counts = counts.get("texts") if isinstance(counts, dict) else None
    total = dict.fromkeys(("clips", *TEXT_COUNTS), 0)
    for name in (re.sub(r"\[.*\]$", "", part.strip()) for part in split.split("+")):
        if not isinstance(counts, dict) or not isinstance(counts.get(name), dict):
            return None
        total["clips"] += info.splits[name].num_examples
        for key in TEXT_COUNTS:
            count = counts[name].get(key)
            if type(count) is not int:
                return None
            total[key] += count
    return total
