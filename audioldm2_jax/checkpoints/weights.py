"""Reading and writing weight files: safetensors here, torch's archives in `torch_files.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from audioldm2_jax.errors import InputError

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class Weights(Mapping):
    """Tensors by name, read from disk one by one when asked for.

    readers: objects with a `shape` and a method `read`.
    """

    def __init__(self, readers: dict):
        self._readers = readers

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name].read()

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return tuple(self._readers[name].shape)

    def renamed(self, names: Mapping[str, str]) -> Weights:
        """The tensors that `names` lists, {name here: name in the result}."""
        return Weights({new: self._readers[old] for old, new in names.items()})

    def __or__(self, other: Weights) -> Weights:
        return Weights(self._readers | other._readers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


_ENDINGS = (
    ".safetensors",
    ".safetensors.index.json",
    ".bin",
    ".bin.index.json",
    ".ckpt",
    ".pth",
    ".pt",
)


def find(folder: Path) -> Path:
    """The weight file (or shard index) of a part's folder; safetensors before torch's."""
    stems = ("diffusion_pytorch_model", "model", "pytorch_model")
    for ending in _ENDINGS:
        for stem in stems:
            if (path := folder / f"{stem}{ending}").is_file():
                return path
    raise InputError(
        f"{folder}: no weights found (model.safetensors or the like); download it again"
    )


def read(path: Path) -> Weights:
    """Opens a weight file. Raises InputError if it is damaged or asks for code."""
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    from audioldm2_jax.checkpoints.torch_files import read_torch

    return read_torch(path)


def _read_safetensors(path: Path) -> Weights:
    """Reads each tensor from its place: a mapped file would count as a second copy of the model."""
    damaged = InputError(f"{path}: not a complete safetensors file; fetch it again")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise damaged
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        readers = {}
        for name, entry in header.items():
            dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            count = math.prod(shape)
            fits = 0 <= begin <= end <= size - 8 - length and end - begin == count * dtype.itemsize
            if not fits:
                raise damaged
            readers[name] = _Slice(path, 8 + length + begin, dtype, shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    return Weights(readers)


class _Slice:
    """Where a tensor lies in a safetensors file."""

    def __init__(self, path, offset, dtype, shape):
        self.path, self.offset, self.dtype, self.shape = path, offset, dtype, shape

    def read(self) -> np.ndarray:
        count = math.prod(self.shape)
        flat = np.fromfile(self.path, self.dtype, count, offset=self.offset)
        return flat.reshape(self.shape)


class Known:
    """A tensor in memory, as a reader."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def read(self) -> np.ndarray:
        return self.array


def _read_shards(path: Path) -> Weights:
    try:
        shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise InputError(f"{path}: not a shard index") from None
    whole = Weights({})
    for shard in shards:
        if Path(shard).name != shard or not (path.parent / shard).is_file():
            raise InputError(f"{path}: its shard {shard} is missing; fetch it again")
        whole |= read(path.parent / shard)
    return whole


def write(path: Path, state: Mapping[str, np.ndarray]):
    """Writes a safetensors file as torch libraries expect it."""
    from safetensors.numpy import save_file

    save_file(dict(state), path, metadata={"format": "pt"})
    path.chmod(0o644)
