"""Torch's archives (.bin, .ckpt, .pth, .pt) without torch: zip files and the older format.

Such a file is a pickle beside raw storages. `pickles` reads the pickle and runs nothing. Shapes and
offsets are checked against the file before anything is allocated.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from audioldm2_jax.checkpoints.weights import pickles
from audioldm2_jax.checkpoints.weights.base import Weights, check_names
from audioldm2_jax.checkpoints.weights.pickles import Foreign, Global, Table
from audioldm2_jax.checkpoints.weights.torch_archives import MAX_PICKLE, Archive, OldFile
from audioldm2_jax.errors import InputError, note

_DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "long": np.int64,
    "int": np.int32,
    "short": np.int16,
    "char": np.int8,
    "byte": np.uint8,
    "bool": np.bool_,
    **{name: np.dtype(name) for name in ("uint16", "uint32", "uint64")},
}
_STORAGES = {
    "BFloat16Storage": "bfloat16",
    **{f"{name.title()}Storage": name for name in _DTYPES if name != "bfloat16"},
}
_UNTYPED = "UntypedStorage"
_TORCH = ("torch", "torch.storage", "torch.cuda")
_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
# Keys under which files keep the model: training frameworks, AudioMAE, HiFi-GAN.
_INSIDE = ("state_dict", "model_state_dict", "model", "module", "generator", "network", "weights")
_AVERAGES = ("ema", "ema_state_dict", "model_ema", "ema_model", "state_dict_ema")
_MAX_SETTINGS = 1000
# Modules of values that published files hold beside their tensors, in one dict with them.
_PLAIN = {"argparse", "numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs"}


def read_torch(path: Path, choice: str = "auto") -> Weights:
    """The tensors of a torch archive; of a training state, those of the model.

    choice: "ema" takes the moving average, if the file keeps one beside the model; "raw" and "auto"
    take the model. The result's `metadata` holds numbers and short texts of the file, such as
    "metadata.kwargs.sample_rate". Raises InputError if the file is damaged, or if an object of
    another library stands in place of a tensor.
    """
    path = Path(path)
    try:
        source, content = _open(path)
    except pickles.Refused as refused:
        raise InputError(
            f"{path}: refused, it asks for {refused}; only tensors and plain containers are read"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror or error})") from None
    except InputError:
        raise
    except Exception as error:  # whatever a damaged pickle makes of the stack machine
        raise InputError(f"{path}: its pickle is damaged ({type(error).__name__})") from None
    state = _state(content, path, choice)
    tensors = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
    _refuse_foreign(state, tensors, path)
    check_names(tensors, path)
    total = 0
    for name, tensor in tensors.items():
        total += tensor.check(name, source)
    if total > 4 * path.stat().st_size + (1 << 20):
        raise InputError(f"{path}: its tensors ask for {total} bytes, several times the file")
    readers = {name: _Reader(source, tensor) for name, tensor in tensors.items()}
    return Weights(readers, _settings(content) if isinstance(content, Table) else {})


def _settings(content) -> dict[str, str]:
    """The numbers and short texts beside the tensors, {dotted name: text}, of the first entries."""
    settings, queue, left = {}, [("", content)], _MAX_SETTINGS
    while queue:
        prefix, table = queue.pop(0)
        for name, value in itertools.islice(table.items(), left):
            left -= 1
            if len(path := f"{prefix}{name}") > _MAX_SETTINGS:
                continue
            if isinstance(value, Table):
                queue.append((f"{path}.", value))
            elif (type(value) is int and abs(value) < 1 << 63) or type(value) in (float, bool):
                settings[path] = str(value)
            elif type(value) is str and len(value) < _MAX_SETTINGS:
                settings[path] = value
    return settings


def _open(path: Path):
    """(reader of the storages, the unpickled content)."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
        if start == _MAGIC:
            file.seek(0)
            return _open_old(path, file.read(MAX_PICKLE))
    try:
        source = Archive(path)
    except InputError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error):
        raise InputError(f"{path}: not a complete torch archive; fetch it again") from None
    return source, pickles.load(
        io.BytesIO(source.pickle()), rebuild=_rebuild, persistent=_persistent
    )


def _open_old(path: Path, head: bytes):
    stream, itemsizes = io.BytesIO(head), {}

    def persistent(reference):
        if isinstance(reference, tuple) and reference[:1] == ("module",) and len(reference) > 1:
            return reference[1]
        storage = _persistent(reference)
        if itemsizes.setdefault(storage.key, storage.itemsize) != storage.itemsize:
            raise ValueError("a storage of two types")
        return storage

    pickles.load(stream)
    pickles.load(stream)
    system = pickles.load(stream)
    if isinstance(system, Table) and system.get("little_endian") is False:
        raise InputError(f"{path}: written on a big-endian machine, which is not read")
    content = pickles.load(stream, rebuild=_rebuild, persistent=persistent)
    keys = pickles.load(stream)
    if not isinstance(keys, list) or not all(type(key) in (str, int) for key in keys):
        raise ValueError("no list of storages")
    source = OldFile(path)
    source.find_storages(keys, stream.tell(), itemsizes)
    return source, content


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage. key: its name in the file. dtype: its name, "" if the tensor says it. start: the
    first element, of a view."""

    key: str
    dtype: str
    start: int = 0

    @property
    def itemsize(self) -> int:
        return np.dtype(_DTYPES[self.dtype]).itemsize if self.dtype in _DTYPES else 1


def _persistent(reference) -> _Storage:
    """A reference to a storage: ("storage", class, key, device, elements, view)."""
    if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
        raise ValueError("a reference to no storage")
    _, kind, key, *_ = reference
    if not isinstance(kind, Global) or type(key) not in (str, int):
        raise ValueError("a reference to no storage")
    if kind.module not in _TORCH:
        raise pickles.Refused(str(kind))
    dtype = "" if kind.name == _UNTYPED else _STORAGES.get(kind.name, kind.name)
    view = reference[5] if len(reference) > 5 else None
    start = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
    if type(start) is not int:
        raise ValueError("no view of a storage")
    return _Storage(str(key), dtype, start)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as the pickle describes it, before any check. offset and strides: in elements."""

    storage: _Storage
    offset: Any
    shape: Any
    strides: Any
    dtype: str

    def check(self, name: str, source) -> int:
        """The number of bytes to read. Raises InputError for a shape that the file cannot hold."""
        where = f"{source.path}: tensor {name}"
        if self.dtype not in _DTYPES:
            raise InputError(f"{where} is stored as {self.dtype or 'bytes'}, which is not read")
        shape, strides = self.shape, self.strides
        if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
            raise InputError(f"{where} has an impossible shape")
        plain = (*shape[:33], *strides[:33], self.offset, self.storage.start)
        if len(shape) != len(strides) or len(shape) > 32:
            raise InputError(f"{where} has an impossible shape")
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in plain):
            raise InputError(f"{where} has an impossible shape")
        # NumPy bounds an empty array's other dimensions too.
        if math.prod(n for n in shape if n) >= 1 << 48:
            raise InputError(f"{where} has an impossible shape")
        itemsize = np.dtype(_DTYPES[self.dtype]).itemsize
        size = source.nbytes(self.storage.key)
        if size % itemsize:
            raise InputError(f"{where}: its storage is damaged; fetch the file again")
        if (self.start + self.span) * itemsize > size:
            raise InputError(f"{where}: its storage is shorter than its tensor; fetch it again")
        return max(self.span, math.prod(shape)) * itemsize

    @property
    def start(self) -> int:
        return self.offset + self.storage.start

    @property
    def span(self) -> int:
        """Elements from the first to the last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Any
    tensor: _Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    def read(self) -> np.ndarray:
        tensor, dtype = self.tensor, np.dtype(_DTYPES[self.tensor.dtype])
        if not tensor.span:
            return np.zeros(tensor.shape, dtype)
        start, length = tensor.start * dtype.itemsize, tensor.span * dtype.itemsize
        content = self.source.read(tensor.storage.key, start, length)
        if len(content) != length:
            raise InputError(f"{self.source.path}: has changed while it was read")
        strides = [s * dtype.itemsize for s in tensor.strides]
        flat = np.frombuffer(content, dtype)
        return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides)


def _rebuild(function: Global, arguments: tuple):
    """The result of a call of torch's own functions; None for all others."""
    if function.module == "torch._utils":
        if function.name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return _tensor(function.name, *arguments[:7])
        if function.name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return arguments[0]
    if str(function) == "torch._tensor._rebuild_from_type_v2":
        if not 3 <= len(arguments) <= 8:  # longer ones, shared by many calls, would be copied
            return None
        inner, kind, inside = arguments[:3]
        if isinstance(kind, Global) and kind.module.split(".")[0] == "torch":
            return _rebuild(inner, inside)
    return None


def _tensor(function, storage, offset, shape, strides, grad=None, hooks=None, dtype=None):
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    name = storage.dtype
    if function.endswith("v3"):
        name = dtype.name if isinstance(dtype, Global) else ""
        # torch.float32 and its like, named as storages are.
        names = {np.dtype(kind).name: known for known, kind in _DTYPES.items()}
        name = names.get(name, name)
    return _Tensor(storage, offset, shape, strides, name)


def _state(content, path: Path, choice: str) -> Table:
    """The model's state dict, wherever the file keeps it."""
    for _ in range(8):
        if isinstance(content, Foreign):
            raise InputError(
                f"{path}: refused, it asks for {content.name}; an object was saved in place of its "
                "state_dict(), and only tensors and plain containers are read"
            )
        if not isinstance(content, Table):
            raise InputError(f"{path}: holds a {type(content).__name__}, not a state dict")
        order = (*_AVERAGES, *_INSIDE) if choice == "ema" else (*_INSIDE, *_AVERAGES)
        inside = {n: content[n] for n in order if isinstance(content.get(n), (Table, Foreign))}
        inside = {n: v for n, v in inside.items() if isinstance(v, Foreign) or _reaches_tensor(v)}
        direct = _tensors_of(content)
        tables = {n: v for n, v in content.items() if isinstance(v, Table) and _tensors_of(v)}
        if not inside and all(tensor.shape == () for tensor in direct.values()):
            # One state under a name that we do not know, perhaps beside a loss or a step.
            if len(tables) > 1:
                names = " ".join(sorted(tables))[:200]
                raise InputError(f"{path}: holds several sets of tensors: {names!r}; keep one")
            inside = tables
        name, content = next(iter(inside.items()), ("", content))
        others = set(inside) | set(tables) | (set(direct) if name else set())
        if others := " ".join(sorted(others - {name}))[:200]:
            where = f"under {name}" if name else "of the file itself"
            note(f"{path}: the weights {where} are taken, not what lies under {others}")
        if not name:
            return content
    raise InputError(f"{path}: its state dict lies too deep")


def _tensors_of(table: Table) -> dict[str, _Tensor]:
    return {name: value for name, value in table.items() if isinstance(value, _Tensor)}


def _refuse_foreign(state: Table, tensors: dict, path: Path) -> None:
    """Raises InputError if an object of another library stands in place of a tensor."""
    visited: set[int] = set()
    for key, value in state.others:
        if isinstance(value, _Tensor):
            kind = type(key).__name__
            raise InputError(f"{path}: a tensor under a key that is no name, but a {kind}")
    for name, value in state.items():
        if isinstance(value, _Storage):
            raise InputError(f"{path}: {name!r:.200} is a storage without a tensor's shape")
        if not isinstance(value, Foreign):
            continue
        numbers = value.name.name in ("_reconstruct", "ndarray") or "torch" in value.name.module
        numbers &= str(value.name) != "torch.Size"
        foreign = value.name.module not in _PLAIN and not tensors
        if numbers or foreign or _reaches_tensor(value, visited):
            raise InputError(
                f"{path}: refused, it asks for {value.name} ({name!r:.200}); only tensors and "
                "plain containers are read"
            )


def _reaches_tensor(value, visited: set[int] | None = None) -> bool:
    """Whether a tensor lies in a dict or went into a foreign object, at any depth.

    visited: ids of objects that hold none.
    """
    queue, visited = [value], set() if visited is None else visited
    while queue:
        item = queue.pop()
        if isinstance(item, (_Tensor, _Storage)):
            return True
        if id(item) in visited:
            continue
        visited.add(id(item))
        if isinstance(item, Foreign):
            queue.extend(item.parts)
        elif isinstance(item, (list, tuple)):
            queue.extend(item)
        elif isinstance(item, Table):
            queue.extend(item.values())
            queue.extend(value for _, value in item.others)
    return False
