"""Torch's archives (.bin, .ckpt, .pth, .pt) without torch.

Such a file is a pickle, which can run code when opened. The reader here builds tensors and plain
containers only and refuses a file that asks for anything else, by the name of what it asks for.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError

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
# Where files of training keep the model: lightning, AudioMAE, HiFi-GAN.
_INSIDE = ("state_dict", "model", "generator")
# Values that published files hold beside their tensors (LAION's scores, AudioMAE's options). None
# of them is made: an empty stand-in takes their place.
_INERT = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("argparse", "Namespace"),
}


def read_torch(path: Path) -> Weights:
    """A torch archive as tensors by name; of a file of training, the model's.

    Raises InputError if it is damaged or asks for anything but tensors and plain containers.
    """
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
    for name in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return Weights({k: v for k, v in content.items() if isinstance(v, _LazyTensor)})


class _Inert:
    """Stands for a value that nothing here reads."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


class _LazyTensor:
    """Where a tensor lies in the archive."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        plain = [*self.shape, *self.strides, offset]
        if not all(isinstance(n, int) and n >= 0 for n in plain) or len(self.shape) != len(strides):
            path, name = storage[3], storage[1]
            raise InputError(f"{path}: a tensor in storage {name} has an impossible shape")

    def read(self) -> np.ndarray:
        archive, name, dtype, path = self.storage
        try:
            flat = np.frombuffer(archive.read(name), dtype)
        except (KeyError, zipfile.BadZipFile, EOFError, ValueError, OSError):
            raise InputError(f"{path}: storage {name} is damaged; fetch the file again") from None
        reach = sum((n - 1) * s for n, s in zip(self.shape, self.strides))
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
        if (module, name) in _INERT:
            return _Inert
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
