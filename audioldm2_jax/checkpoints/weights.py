"""Reading and writing weight files: safetensors, and torch's archives without torch.

A torch file is a pickle, which can run code when opened. The reader here builds tensors and plain
containers only and refuses a file that asks for anything else.
"""

from __future__ import annotations

import collections
import json
import math
import pickle
import zipfile
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
_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Weights(Mapping):
    """Tensors by name, read from disk one by one when asked for."""

    def __init__(self, readers: dict):
        self._readers = readers

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def find(folder: Path) -> Path:
    """The weight file (or shard index) of a part's folder; safetensors before torch's."""
    stems = ("diffusion_pytorch_model", "model", "pytorch_model")
    for ending in (".safetensors", ".safetensors.index.json", ".bin", ".ckpt", ".pth", ".pt"):
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
    return Weights({name: slice.read for name, slice in readers.items()})


class _Slice:
    """Where a tensor lies in a safetensors file."""

    def __init__(self, path, offset, dtype, shape):
        self.path, self.offset, self.dtype, self.shape = path, offset, dtype, shape

    def read(self) -> np.ndarray:
        count = math.prod(self.shape)
        flat = np.fromfile(self.path, self.dtype, count, offset=self.offset)
        return flat.reshape(self.shape)


def _read_shards(path: Path) -> Weights:
    try:
        shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise InputError(f"{path}: not a shard index") from None
    readers = {}
    for shard in shards:
        if Path(shard).name != shard or not (path.parent / shard).is_file():
            raise InputError(f"{path}: its shard {shard} is missing; fetch it again")
        readers |= _read_safetensors(path.parent / shard)._readers
    return Weights(readers)


def write(path: Path, state: Mapping[str, np.ndarray]):
    """Writes a safetensors file as torch libraries expect it."""
    from safetensors.numpy import save_file

    save_file(dict(state), path, metadata={"format": "pt"})
    path.chmod(0o644)


def read_torch(path: Path) -> Weights:
    """A torch archive (.bin, .ckpt, .pth) as tensors by name; unwraps a `state_dict` inside."""
    try:
        archive = zipfile.ZipFile(path)
        entry = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
    except (zipfile.BadZipFile, OSError):
        raise InputError(
            f"{path}: not a complete torch archive (or older than torch 1.6); fetch it again, "
            "or save it anew with a current torch"
        ) from None
    if entry is None:
        raise InputError(f"{path}: a zip file, but not torch's: it holds no data.pkl")
    try:
        with archive.open(entry) as stream:
            content = _Unpickler(stream, archive, entry.removesuffix("data.pkl"), path).load()
    except InputError:
        raise
    except Exception as error:  # whatever a damaged pickle makes of the stack machine
        raise InputError(f"{path}: its pickle is damaged ({type(error).__name__})") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return Weights({k: v.read for k, v in content.items() if isinstance(v, _LazyTensor)})


class _LazyTensor:
    """Where a tensor lies in the archive."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)

    def read(self) -> np.ndarray:
        archive, name, dtype, path = self.storage
        try:
            flat = np.frombuffer(archive.read(name), dtype)
        except (KeyError, zipfile.BadZipFile, EOFError, ValueError, OSError):
            raise InputError(f"{path}: storage {name} is damaged; fetch the file again") from None
        reach = sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        plain = [*self.shape, *self.strides, self.offset]
        if not all(isinstance(n, int) and n >= 0 for n in plain):
            raise InputError(f"{path}: a tensor in storage {name} has an impossible shape")
        if math.prod(self.shape) and self.offset + reach >= flat.size:
            raise InputError(f"{path}: storage {name} is shorter than its tensor; fetch it again")
        strides = [s * flat.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides)


class _Unpickler(pickle.Unpickler):
    """Admits tensors and plain containers; everything else is refused by its name."""

    def __init__(self, stream, archive, root, path):
        super().__init__(stream)
        self.archive, self.root, self.path = archive, root, path

    def find_class(self, module, name):
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _LazyTensor(
                storage, offset, shape, strides
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise InputError(
            f"{self.path}: refused, it asks for {module}.{name}; only tensors and plain containers "
            "are read"
        )

    def persistent_load(self, reference):
        kind, dtype, key, *_ = reference
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise InputError(f"{self.path}: refused, it refers to an unknown {kind!r}")
        return self.archive, f"{self.root}data/{key}", dtype, self.path
