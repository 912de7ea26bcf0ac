"""The safetensors format: a header of names, shapes and offsets, then the tensors' bytes.

The header is checked as the reference library checks it: every byte behind it belongs to exactly
one tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from audioldm2_jax.checkpoints.weights.base import MAX_TENSORS
from audioldm2_jax.errors import InputError

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}
# The largest headers of published models have some 2 MB.
_MAX_HEADER = 1 << 24
_MAX_DIMENSIONS = 32


@dataclass(frozen=True, slots=True)
class Slice:
    """A reader of one tensor. offset: of its first byte in the file."""

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Reads the tensor alone; a mapped file would count as a second copy of the model."""
        count = math.prod(self.shape)
        try:
            flat = np.fromfile(self.path, self.dtype, count, offset=self.offset)
            return flat.reshape(self.shape)
        except (OSError, ValueError):
            raise InputError(f"{self.path}: has changed while it was read") from None


def read_safetensors(path: Path) -> tuple[dict[str, Slice], dict[str, str]]:
    """({name: reader}, the metadata). Raises InputError for a damaged file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise InputError(f"{path}: not a complete safetensors file; fetch it again")
            if length > _MAX_HEADER:
                raise InputError(f"{path}: its header has {length} bytes, more than any model's")
            header = json.loads(file.read(length), object_pairs_hook=_object)
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0][:200] if isinstance(error, _Duplicate) else "damaged"
        raise InputError(f"{path}: its safetensors header is {reason}; fetch it again") from None
    if not isinstance(header, dict):
        raise InputError(f"{path}: its safetensors header is no object; fetch it again")
    if len(header) > MAX_TENSORS:
        raise InputError(f"{path}: holds {len(header)} tensors, more than any model")
    metadata = header.pop("__metadata__", None)
    slices, spans = {}, []
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(entry, f"{path}: tensor {name!r:.200}")
        slices[name] = Slice(path, 8 + length + begin, dtype, shape)
        spans.append((begin, end))
    _check_spans(sorted(spans), size - 8 - length, path)
    return slices, metadata if isinstance(metadata, dict) else {}


class _Duplicate(ValueError):
    pass


def _object(pairs: list) -> dict:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _Duplicate("ambiguous: a name stands in it twice")
    return content


def _entry(entry, where: str):
    """(dtype, shape, begin, end) of a header's entry."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: its header entry is no object")
    name, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(name, str) or name not in DTYPES:
        raise InputError(
            f"{where}: stored as {name!r:.50}, which is not read; store it as F32, F16 or BF16"
        )
    if not _counts(shape) or len(shape) > _MAX_DIMENSIONS:
        raise InputError(f"{where}: its shape {shape!r:.80} is no tensor's")
    if not _counts(offsets) or len(offsets) != 2:
        raise InputError(f"{where}: its data_offsets {offsets!r:.80} are no place in the file")
    dtype, (begin, end) = np.dtype(DTYPES[name]), offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise InputError(f"{where}: its place has {end - begin} bytes, which is not its size")
    return dtype, tuple(shape), begin, end


def _counts(values) -> bool:
    """Whether this is a list of whole numbers, none below zero or beyond any file."""
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in values)


def _check_spans(spans: list, size: int, path: Path) -> None:
    """Raises InputError unless the tensors fill the file without gap or overlap."""
    reached = 0
    for begin, end in spans:
        if begin != reached:
            kind = "overlap" if begin < reached else "leave a gap"
            raise InputError(
                f"{path}: tensors {kind} at byte {min(begin, reached)}; fetch it again"
            )
        reached = end
    if reached != size:
        raise InputError(f"{path}: not a complete safetensors file; fetch it again")


def write_safetensors(
    path: Path, state: Mapping[str, np.ndarray], metadata: dict[str, str], *, alignment: int = 8
):
    """Writes tensors by descending alignment, then by name, as the reference library does.

    alignment: of the first tensor's place. Above 8, tensors whose sizes are multiples of it come
    first, and so all lie at multiples of it. Raises OSError if the disk refuses.
    """
    arrays = {name: np.asarray(value) for name, value in state.items()}
    odd = {name: alignment > 8 and x.nbytes % alignment != 0 for name, x in arrays.items()}
    order = sorted(arrays, key=lambda name: (odd[name], -arrays[name].dtype.itemsize, name))
    header, begin = {"__metadata__": metadata}, 0
    for name in order:
        array = arrays[name]
        entry = {"dtype": _NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = entry | {"data_offsets": [begin, begin + array.nbytes]}
        begin += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % alignment)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8))
