"""Reads token stores: TFDS folders of ArrayRecord that `tokenize` writes, at random.

A record is a piece of a recording: its semantic tokens (with run lengths, unless repeats are kept)
and the codec's codes, all uint16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest.report import error_reason
from audioldm2_jax.errors import InputError

KIND = "tokens"


def token_features(settings: dict):
    """The TFDS features of a record. settings: the store's, as `TokenStore.settings` has them.

    id, captions, labels, transcript, sample_rate (Hz, of the recording), seconds and start (of the
    piece). semantic [S], run_lengths [S], acoustic [T, Q], scales [chunks]: as far as there are.
    """
    import tensorflow_datasets as tfds

    text, number = tfds.features.Text, np.float32

    def array(*shape, dtype=np.uint16):
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    features = {
        "id": text(),
        "captions": tfds.features.Sequence(text()),
        "labels": tfds.features.Sequence(text()),
        "transcript": text(),
        "seconds": number,
        "start": number,
        "sample_rate": np.int32,
    }
    if semantic := settings["semantic"]:
        features["semantic"] = array(None)
        if not semantic["repeats"]:
            features["run_lengths"] = array(None)
    if codec := settings["codec"]:
        features["acoustic"] = array(None, codec["levels"])
        if codec["scales"]:
            features["scales"] = array(None, dtype=np.float32)
    return tfds.features.FeaturesDict(features)


class TokenStore:
    """A split of a token store, as a random-access sequence of records.

    settings: the protocol, {"semantic": {model, layer, codebook, frame_rate, repeats, ...} or None,
    "codec": {model, levels, codebook, sample_rate, frame_rate, ...} or None, "seconds": ...}.
    Raises InputError for a folder that is none, for an unknown split, and for files that are
    missing or cut off.
    """

    def __init__(self, folder, split: str = "train"):
        self.folder, self.split = Path(folder), split
        description = reader.read_description(folder) if reader.is_corpus(folder) else {}
        settings, sizes = description.get("settings"), description.get("files")
        stored = isinstance(settings, dict) and isinstance(sizes, dict)
        if not stored or settings.get("kind") != KIND:
            raise InputError(f"{folder}: no token store; make one with `audioldm2-jax tokenize`")
        self.settings = settings
        self._check_files(sizes)
        self._source = reader.open_split(folder, split)

    def _check_files(self, sizes: dict) -> None:
        """Raises InputError if a shard is missing or not as long as it was written."""
        for name, size in sizes.items():
            path = self.folder / name
            actual = path.stat().st_size if path.is_file() else None
            if actual != size:
                state = "is missing" if actual is None else f"has {actual} bytes of {size}"
                raise InputError(f"{path}: {state}; the store is damaged, make it anew")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        """A record: id, transcript: str; captions, labels; tokens as int32 arrays.

        Raises InputError for a damaged record, and for tokens that its codebooks do not have.
        """
        where = f"{self.folder}, {self.split}, record {index}"
        try:
            example = self._source[index]
        except IndexError:
            raise
        except Exception as error:  # ArrayRecord and TFDS raise many kinds for damage
            raise InputError(f"{where}: damaged ({error_reason(error)}); make it anew") from None
        record = {key: float(example[key]) for key in ("seconds", "start")}
        record |= {key: example[key].decode() for key in ("id", "transcript")}
        record |= {key: [t.decode() for t in example[key]] for key in ("captions", "labels")}
        record["sample_rate"] = int(example["sample_rate"])
        for key in ("semantic", "run_lengths", "acoustic"):
            if key in example:
                record[key] = np.asarray(example[key], np.int32)
        if "scales" in example:
            record["scales"] = np.asarray(example["scales"], np.float32)
        check_record(record, self.settings, where)
        return record


def check_record(record: dict, settings: dict, where: str) -> None:
    """Raises InputError for tokens beyond their codebook, and for run lengths that do not fit."""
    semantic, codec = settings["semantic"], settings["codec"]
    for key, part in (("semantic", semantic), ("acoustic", codec)):
        tokens = record.get(key)
        if part is None:
            continue
        if tokens is None or not tokens.size:
            raise InputError(f"{where}: holds no {key} tokens")
        if tokens.max() >= part["codebook"]:
            raise InputError(
                f"{where}: {key} token {tokens.max()}, but the codebook has {part['codebook']}"
            )
    if codec is not None and record["acoustic"].shape[1:] != (codec["levels"],):
        raise InputError(
            f"{where}: codes of shape {record['acoustic'].shape}; {codec['levels']} levels expected"
        )
    runs = record.get("run_lengths")
    if runs is not None and (runs.shape != record["semantic"].shape or runs.min() < 1):
        raise InputError(f"{where}: run lengths do not fit the semantic tokens")
