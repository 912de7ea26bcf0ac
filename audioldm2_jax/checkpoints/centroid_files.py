"""Published k-means centroids: .npy files, and scikit-learn's models as joblib or pickle saves them
(fairseq's hubert_base_ls960_L9_km500.bin).

Nothing in a file is called; `weights.pickles` reads the pickles.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.checkpoints.config_entries import WIDTH
from audioldm2_jax.checkpoints.parts.kmeans import CODEBOOK
from audioldm2_jax.checkpoints.weights import pickles
from audioldm2_jax.checkpoints.weights.pickles import Foreign, Global, Table
from audioldm2_jax.errors import InputError

_LIMIT = 1 << 31
_CENTROIDS = "cluster_centers_"
_ADVICE = f"load it where it was made and numpy.save('centroids.npy', model.{_CENTROIDS})"
# How compressed joblib files begin: zlib, gzip, bzip2, xz, lzma, lz4.
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22\x4d\x18")
_NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


def read_centroids(path) -> np.ndarray:
    """The centroids of a file: float32 [K, D].

    Raises InputError for a file that is damaged, compressed, or holds something else.
    """
    path = files.user_path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if (size := path.stat().st_size) > _LIMIT:
            raise InputError(f"{path}: {size} bytes, more than centroids have")
        with path.open("rb") as file:
            start = file.read(8)
        array = _read_npy(path) if start.startswith(b"\x93NUMPY") else _read_pickle(path, start)
    except OSError as error:
        raise files.cannot(path, "read", error) from None
    return _checked(array, path)


def _checked(array: np.ndarray, path: Path) -> np.ndarray:
    """float32 centroids. Raises InputError for what they cannot be."""
    if array.ndim != 2 or array.dtype.kind != "f" or not all(array.shape):
        raise InputError(
            f"{path}: holds {array.dtype} of shape {array.shape}; floats [centroids, width] are "
            "expected"
        )
    if array.shape[0] > CODEBOOK or array.shape[1] > WIDTH:
        raise InputError(f"{path}: {array.shape[0]} centroids of width {array.shape[1]}: too many")
    with np.errstate(over="ignore"):
        array = np.array(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: its centroids hold NaN or infinity")
    return array


def _read_npy(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a shape that the file cannot hold is refused before it is allocated.
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception:  # NumPy parses the header as Python, with errors of many kinds
        raise InputError(f"{path}: not a complete .npy file of numbers") from None


def _read_pickle(path: Path, start: bytes) -> np.ndarray:
    """The centroids of a pickled model."""
    if start.startswith(_COMPRESSED):
        raise InputError(f"{path}: compressed by joblib, which is not read; {_ADVICE}")
    stream = io.BytesIO(path.read_bytes())
    try:
        model = pickles.load(stream, built=lambda foreign: _array_of(foreign, stream))
    except pickles.Refused as refused:
        raise InputError(f"{path}: refused, it asks for {refused}; {_ADVICE}") from None
    except Exception as error:  # whatever a damaged pickle makes of the stack machine
        raise InputError(
            f"{path}: neither .npy nor a pickle that is read here ({type(error).__name__}); "
            f"{_ADVICE}"
        ) from None
    state = _state(model) if isinstance(model, Foreign) else model
    centroids = state.get(_CENTROIDS) if isinstance(state, Table) else state
    if not isinstance(centroids, np.ndarray):
        raise InputError(f"{path}: a pickle without an array {_CENTROIDS}; {_ADVICE}")
    return centroids


def _state(foreign: Foreign):
    """The state that was set last; None if there is none."""
    return foreign.parts[-1] if foreign.parts else None


def _array_of(foreign: Foreign, stream) -> np.ndarray | None:
    """The array that joblib's wrapper announces or that a plain pickle holds; None for others.

    Raises ValueError for one that the file cannot hold.
    """
    state = _state(foreign)
    if foreign.name.name == "NumpyArrayWrapper" and isinstance(state, Table):
        shape, dtype = state.get("shape"), _dtype(state.get("dtype"))
        count = _size(shape, dtype)
        if state.get("numpy_array_alignment_bytes") is not None:
            stream.read(int.from_bytes(stream.read(1), "little"))
        # The bytes stand in the stream behind the wrapper.
        content, fortran = stream.read(count), state.get("order") == "F"
    elif foreign.name.name == "_reconstruct" and isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, fortran, content = state
        dtype = _dtype(dtype)
        count = _size(shape, dtype)
    else:
        return None
    if not isinstance(content, bytes) or len(content) != count:
        raise ValueError("an array that is cut off")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _size(shape, dtype: np.dtype) -> int:
    """The bytes of an array."""
    if not isinstance(shape, tuple) or len(shape) > 8:
        raise ValueError("no shape")
    if not all(type(n) is int and 0 <= n < 1 << 31 for n in shape):
        raise ValueError("no shape")
    size = math.prod(shape) * dtype.itemsize
    if size > _LIMIT:
        raise ValueError("too large")
    return size


def _dtype(value) -> np.dtype:
    """NumPy's dtype of a pickled one: its code, then a state whose second entry is the order."""
    if not isinstance(value, Foreign) or value.name != Global("numpy", "dtype"):
        raise ValueError("no dtype")
    code, order = value.parts[0][0], "|"
    if len(value.parts) > 1 and isinstance(value.parts[-1], tuple):
        order = value.parts[-1][1]
    if code not in _NUMBERS or order not in ("<", ">", "|", "="):
        raise ValueError("no numbers")
    return np.dtype(code).newbyteorder(order)
