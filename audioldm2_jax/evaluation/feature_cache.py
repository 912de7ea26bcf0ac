"""Features on disk by content: what was computed once is not computed again.

The key of a clip is of its encoded bytes, the loader's rules, and the network with its weights. Its
files are whole or absent; a damaged one is deleted with a note, and its clips are computed again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.evaluation.backbones.base import Backbone, ClipOutput

if TYPE_CHECKING:
    from audioldm2_jax.evaluation.protocol import LoaderRules

_FORMAT = 1
_KEY = 16  # bytes
_ARRAYS = ("keys", "counts", "embeddings")  # of a file, besides logits where a network has classes
# What zipfile and numpy raise for damage; RuntimeError is of encryption, and of unknown versions
# as its subclass NotImplementedError.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)


class FeatureCache:
    """Outputs of one network under one loader's rules, in files of some clips each.

    folder: of all caches; None keeps nothing. Raises InputError if it cannot be used.
    """

    def __init__(self, folder: Path | None, backbone: Backbone, rules: LoaderRules):
        identity = [_FORMAT, dataclasses.asdict(rules), backbone.name, backbone.version]
        identity += [backbone.sample_rate, backbone.settings, backbone.sha256]
        text = json.dumps(identity, sort_keys=True)
        self._identity = hashlib.sha256(text.encode()).digest()
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._open: tuple[Path, list[ClipOutput]] | None = None
        self.folder = None
        self._logits = bool(backbone.labels)
        if folder is not None:
            self.folder = files.user_path(folder) / f"{backbone.name}-{self._identity.hex()[:16]}"
            self._scan(self.folder)

    def key(self, content_hash: str) -> bytes:
        """The key of a clip whose encoded bytes have a hash."""
        return hashlib.sha256(self._identity + content_hash.encode()).digest()[:_KEY]

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def get(self, key: bytes) -> ClipOutput | None:
        """The output of a clip; None if it is not there or its file is damaged."""
        if key not in self._places:
            return None
        path, position = self._places[key]
        if self._open is None or self._open[0] != path:
            try:
                self._open = path, _read(path, self._logits)
            except InputError as error:
                self._discard(path, error)
                return None
        return self._open[1][position]

    def put(self, keys: Sequence[bytes], outputs: Sequence[ClipOutput]) -> None:
        """Writes outputs as one file. Raises InputError if it cannot be written."""
        if self.folder is None or not keys:
            return
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:32]
        path = self.folder / f"{name}.npz"
        try:
            files.write_bytes(path, _encode(keys, outputs))
        except InputError:
            if not path.is_file():  # else another run has just written the same clips
                raise
        self._places |= {key: (path, i) for i, key in enumerate(keys)}
        if self._open is not None and self._open[0] == path:
            self._open = None

    def _scan(self, folder: Path) -> None:
        """Notes the keys of all files."""
        files.make_folder(folder)
        for path in sorted(folder.glob("*.npz")):
            if path.name.startswith("."):
                continue  # of a writer that was killed
            try:
                (keys,) = _members(path, ("keys",), self._logits)
                if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != _KEY:
                    raise _damaged(path)
            except InputError as error:
                self._discard(path, error)
                continue
            self._places |= {key.tobytes(): (path, i) for i, key in enumerate(keys)}

    def _discard(self, path: Path, error: InputError) -> None:
        """Deletes a damaged file, with a note."""
        note(f"{error}; it is deleted and its clips are computed again")
        self._places = {key: place for key, place in self._places.items() if place[0] != path}
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _encode(keys: Sequence[bytes], outputs: Sequence[ClipOutput]) -> bytes:
    arrays = {
        "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, _KEY),
        "counts": np.array([len(output.embeddings) for output in outputs], np.int64),
        "embeddings": np.concatenate([output.embeddings for output in outputs]),
    }
    logits = [output.logits for output in outputs if output.logits is not None]
    if logits:
        arrays["logits"] = np.stack(logits)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _members(path: Path, names: Sequence[str], logits: bool) -> list[np.ndarray]:
    """Arrays of a file that must hold exactly those of `_encode`, logits too if `logits`.

    Raises InputError for a damaged one.
    """
    expected = {f"{name}.npy" for name in _ARRAYS + ("logits",) * logits}
    try:
        with zipfile.ZipFile(path) as archive:
            # Only what `np.savez` writes, so that no flipped bit starts a decompressor.
            stored = all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
            if not stored or sorted(archive.namelist()) != sorted(expected):
                raise _damaged(path)
            # Whole members, of which zipfile checks the CRC before numpy parses any byte.
            contents = [archive.read(f"{name}.npy") for name in names]
        return [np.load(io.BytesIO(content), allow_pickle=False) for content in contents]
    except _DAMAGE:
        raise _damaged(path) from None


def _read(path: Path, logits: bool) -> list[ClipOutput]:
    """The outputs in a file, with logits or without. Raises InputError for a damaged one."""
    keys, counts, embeddings, *rest = _members(path, _ARRAYS + ("logits",) * logits, logits)
    fits = (
        counts.ndim == 1
        and embeddings.ndim == 2
        and counts.dtype == np.int64
        and embeddings.dtype == np.float32
        and len(counts) == len(keys)
        and (counts > 0).all()
        and counts.sum() == len(embeddings)
        and all(rows.ndim == 2 and len(rows) == len(counts) for rows in rest)
    )
    if not fits:
        raise _damaged(path)
    parts = np.split(embeddings, np.cumsum(counts)[:-1])
    rows = rest[0] if logits else [None] * len(parts)
    return [ClipOutput(part, row) for part, row in zip(parts, rows)]


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: a damaged file of features")
