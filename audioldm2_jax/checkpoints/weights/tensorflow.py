"""TensorFlow's checkpoints (tensor bundles), read without TensorFlow.

A bundle is an index, a LevelDB table of protocol buffers by tensor name, and raw data. References:
tensorflow/core/util/tensor_bundle, core/protobuf/tensor_bundle.proto, LevelDB's table_format.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

from audioldm2_jax.checkpoints.weights.base import Weights, check_names
from audioldm2_jax.checkpoints.weights.crc32c import masked_crc32c
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import cannot

# Numbers of types.proto.
_DTYPES = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    9: np.int64,
    14: ml_dtypes.bfloat16,
    19: np.float16,
}
_MAGIC, _FOOTER, _TRAILER = 0xDB4775248B80FB57, 48, 5
_MAX_INDEX, _MAX_DATA, _MAX_DIMENSIONS = 1 << 26, 1 << 32, 32


class _Damaged(ValueError):
    """Raised inside this file; `read_bundle` adds the file's name."""


class _Tensor:
    """A reader of one tensor. name: with the file, for messages."""

    def __init__(self, data: memoryview, dtype: np.dtype, shape: tuple, checksum: int, name: str):
        self._data, self._dtype, self.shape = data, dtype, shape
        self._checksum, self._name = checksum, name

    def read(self) -> np.ndarray:
        """The tensor's values. Raises InputError if its checksum differs."""
        if masked_crc32c(self._data) != self._checksum:
            raise InputError(f"{self._name}: its checksum differs; fetch the file again")
        return np.frombuffer(self._data, self._dtype).reshape(self.shape)


def read_tensorflow(path: Path) -> Weights:
    """Opens a bundle by the path of its file .index; see `read_bundle`."""
    contents = []
    data = path.with_name(path.name.removesuffix(".index") + ".data-00000-of-00001")
    for file, limit in ((path, _MAX_INDEX), (data, _MAX_DATA)):
        try:
            if file.stat().st_size > limit:
                raise InputError(f"{file}: larger than any model's ({limit} bytes)")
            contents.append(file.read_bytes())
        except OSError as error:
            raise cannot(file, "read", error) from None
    return read_bundle(*contents, str(path))


def read_bundle(index: bytes, data: bytes, where: str) -> Weights:
    """Tensors of a bundle, a dot for each slash in their names.

    index, data: contents of its two files. where: the index's path, for messages. Raises InputError
    for a damaged bundle, one of several shards, and types that no weights have.
    """
    tensors: dict[str, _Tensor] = {}
    try:
        for key, value in _table(index):
            fields = _message(value)
            if not key:
                _check_header(fields)
                continue
            name = key.decode("utf-8").replace("/", ".")
            if name in tensors:
                raise _Damaged(f"holds {name!r:.200} twice")
            tensors[name] = _tensor(fields, data, f"{where}: tensor {name!r:.200}")
    except _Damaged as error:
        raise InputError(f"{where}: {error}; fetch it again") from None
    except (UnicodeDecodeError, IndexError):
        raise InputError(f"{where}: damaged; fetch it again") from None
    check_names(tensors, Path(where))
    return Weights(tensors)


def _check_header(fields: dict) -> None:
    if _number(fields, 1) != 1:
        raise _Damaged("has several shards, which are not read")
    if _number(fields, 2) != 0:
        raise _Damaged("is big-endian, which is not read")


def _tensor(fields: dict, data: bytes, name: str) -> _Tensor:
    """A tensor from its BundleEntryProto."""
    if _number(fields, 1) not in _DTYPES:
        raise InputError(f"{name}: of type {_number(fields, 1)}, which no weights have")
    if 7 in fields or _number(fields, 3) != 0:
        raise _Damaged(f"holds {name} in pieces, which are not read")
    dtype = np.dtype(_DTYPES[_number(fields, 1)]).newbyteorder("<")
    shape = _shape(_last(fields, 2, b""))
    offset, size = _number(fields, 4), _number(fields, 5)
    if size != math.prod(shape) * dtype.itemsize or offset + size > len(data):
        raise _Damaged(f"its {name} does not fit into the data")
    checksum = _number(fields, 6)
    return _Tensor(memoryview(data)[offset : offset + size], dtype, shape, checksum, name)


def _shape(content: bytes) -> tuple[int, ...]:
    """Sizes of a TensorShapeProto."""
    fields = _message(content)
    dimensions = fields.get(2, [])
    if len(dimensions) > _MAX_DIMENSIONS or 3 in fields:
        raise _Damaged("has a tensor of unknown shape")
    sizes = []
    for dimension in dimensions:
        if not isinstance(dimension, bytes):
            raise _Damaged("has a tensor of unknown shape")
        sizes.append(_number(_message(dimension), 1))
    if any(size >= 1 << 40 for size in sizes):
        raise _Damaged("has a tensor of impossible shape")
    return tuple(sizes)


def _message(content: bytes) -> dict[int, list]:
    """{field: values} of a protocol buffer; integers or bytes."""
    fields: dict[int, list] = {}
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(content, at)
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value = int.from_bytes(_slice(content, at, width), "little")
            at += width
        elif kind == 2:
            length, at = _varint(content, at)
            value = _slice(content, at, length)
            at += length
        else:
            raise _Damaged("damaged (a field of unknown kind)")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _last(fields: dict, number: int, default):
    value = fields.get(number, [default])[-1]
    if type(value) is not type(default):
        raise _Damaged("damaged (a field of another kind)")
    return value


def _number(fields: dict, number: int) -> int:
    return _last(fields, number, 0)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """(an integer of 7 bits a byte, the place behind it)."""
    value = 0
    for shift in range(0, 70, 7):
        octet = content[at]  # an IndexError is damage, as `read_bundle` knows
        at += 1
        value |= (octet & 127) << shift
        if octet < 128:
            return value, at
    raise _Damaged("damaged (an endless number)")


def _slice(content: bytes, start: int, length: int) -> bytes:
    if start + length > len(content):
        raise _Damaged("cut off")
    return content[start : start + length]


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (key, value) of a LevelDB table, in ascending order of keys."""
    if len(index) < _FOOTER or int.from_bytes(index[-8:], "little") != _MAGIC:
        raise _Damaged("no index of a TensorFlow checkpoint, or cut off")
    footer, at, handles = index[-_FOOTER:], 0, []
    for _ in range(4):
        value, at = _varint(footer, at)
        handles.append(value)
    for _ in _block(index, *handles[:2]):  # the table's own notes, which TensorFlow leaves empty
        raise _Damaged("with notes, which TensorFlow does not write")
    before, reached = None, 0
    for _, content in _block(index, *handles[2:]):
        offset, at = _varint(content, 0)
        size, _ = _varint(content, at)
        if offset < reached:
            raise _Damaged("damaged (its blocks overlap)")
        reached = offset + size
        for key, value in _block(index, offset, size):
            if before is not None and key <= before:
                raise _Damaged("damaged (its names are out of order)")
            before = key
            yield key, value


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of one block: names are stored as what differs from the one before."""
    content = _slice(index, offset, size + _TRAILER)
    checksum = int.from_bytes(content[size + 1 :], "little")
    if masked_crc32c(content[: size + 1]) != checksum:
        raise _Damaged("damaged (a checksum differs)")
    if content[size] != 0:
        raise _Damaged("compressed, which is not read")
    restarts = int.from_bytes(_slice(content, max(0, size - 4), 4), "little")
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise _Damaged("damaged (a block without entries)")
    content, at, key = content[:end], 0, b""
    while at < end:
        shared, at = _varint(content, at)
        own, at = _varint(content, at)
        length, at = _varint(content, at)
        if shared > len(key):
            raise _Damaged("damaged (a name without a beginning)")
        key = key[:shared] + _slice(content, at, own)
        yield key, _slice(content, at + own, length)
        at += own + length
