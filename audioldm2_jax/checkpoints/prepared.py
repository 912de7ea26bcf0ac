"""Parameters on disk as the networks take them: a later process maps them instead of converting.

A file belongs to one part of one checkpoint, by the time stamps of the checkpoint's files. It is
safetensors whose arrays begin at multiples of 64 bytes, where JAX on the CPU takes them without a
copy. Mapped pages are loaded when they are touched, and the system may drop them again.
"""

from __future__ import annotations

import bisect
import ctypes
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np

from audioldm2_jax import caching, files, tree
from audioldm2_jax.checkpoints.weights.safetensors import Slice, read_safetensors, write_safetensors
from audioldm2_jax.errors import InputError

# As XLA allocates its own buffers on the CPU.
_ALIGNMENT = 64
_CHUNK = 1 << 19
_DONTNEED = 4  # MADV_DONTNEED of Linux
# Converting fewer bytes takes no time worth a file.
MIN_BYTES = 1 << 22
_GIGABYTES = 20.0


def limit() -> int:
    """Bytes that all files may take: $AUDIOLDM2_JAX_CACHE_GB. Raises InputError."""
    text = os.environ.get("AUDIOLDM2_JAX_CACHE_GB") or str(_GIGABYTES)
    try:
        gigabytes = float(text)
        return int(gigabytes * 1e9)
    except (ValueError, OverflowError):
        raise InputError(
            f"AUDIOLDM2_JAX_CACHE_GB is {text!r:.80}: set it to a number of gigabytes"
        ) from None


def load_or_make(name: str, identity: list, make: Callable[[], dict]) -> dict:
    """A part's parameters from the cache, else from `make()`, which are then written there.

    identity: JSON values that decide the parameters, beside the package's version.
    """
    key = caching.key(caching.source_digest(), name, *identity)
    path = files.cache_folder("weights") / f"{name}-{key}.safetensors"
    params = _read(path)
    if params is None:
        params = make()
        if _write(path, params):
            # The mapped copy replaces the one in memory, which is free again.
            params = _read(path) or params
    return params


def release(params) -> None:
    """Lets the system take back the pages of mapped parameters until they are touched again.

    Pages of a file lose nothing. Parameters that are in memory of their own, or of several devices,
    stay as they are, as do all where the system is not Linux.
    """
    leaves = [x for x in jax.tree.leaves(params) if isinstance(x, jax.Array)]
    places = sorted(x.unsafe_buffer_pointer() for x in leaves if len(x.devices()) == 1)
    folder = f"{os.path.realpath(files.cache_folder('weights'))}{os.sep}"
    with suppress(OSError, AttributeError):
        advise = ctypes.CDLL("libc.so.6", use_errno=True).madvise
        for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
            if folder not in line:
                continue
            start, end = (int(number, 16) for number in line.split(" ", 1)[0].split("-"))
            first = bisect.bisect_left(places, start)
            if first < len(places) and places[first] < end:
                advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)


def _read(path: Path) -> dict | None:
    """The mapped parameters; None for a file that is absent or damaged."""
    if not path.is_file():
        return None
    try:
        slices, metadata = read_safetensors(path)
        with path.open("rb", buffering=0) as file:
            sums = [_stored_sum(file, entry) for _, entry in sorted(slices.items())]
            mapped = np.memmap(file, np.uint8, "c")
        if metadata.get("checksum") != _combined(sums):
            return None
    except (InputError, OSError, ValueError):
        return None
    caching.mark_used(path)
    return tree.unflatten({name: _place(mapped, entry) for name, entry in slices.items()})


def _place(mapped, entry: Slice) -> jax.Array:
    """A tensor of a mapped file on JAX's device, without a copy if it is aligned."""
    size = int(np.prod(entry.shape)) * entry.dtype.itemsize
    view = mapped[entry.offset : entry.offset + size].view(entry.dtype).reshape(entry.shape)
    return jax.device_put(np.asarray(view))


def _write(path: Path, params: dict) -> bool:
    """Whether the parameters are in the file now."""
    arrays = {name: np.asarray(leaf) for name, leaf in sorted(tree.flatten(params).items())}
    size, most = sum(array.nbytes for array in arrays.values()), limit()
    if size < MIN_BYTES or size > most or _free(path) < 2 * size:
        return False
    checksum = _combined(_sum(np.ascontiguousarray(x)) for x in arrays.values())

    def write(temporary: Path) -> None:
        write_safetensors(temporary, arrays, {"checksum": checksum}, alignment=_ALIGNMENT)

    return caching.store(path, write, limit=most)


def _free(path: Path) -> int:
    """Bytes that are free on the disk of a path whose folders may be missing."""
    try:
        return shutil.disk_usage(next(p for p in path.parents if p.is_dir())).free
    except (OSError, StopIteration):
        return 0


def _sum(array: np.ndarray) -> int:
    """Sum of an array's bytes in words of eight, modulo 2^64: ten gigabytes a second."""
    flat = array.reshape(-1).view(np.uint8)
    words = flat.size // 8 * 8
    return (int(flat[:words].view(np.uint64).sum()) + int(flat[words:].sum())) % (1 << 64)


def _stored_sum(file, entry: Slice) -> int:
    """The same of a tensor in a file. Read, since touched pages of a map count as memory."""
    remaining, total = int(np.prod(entry.shape)) * entry.dtype.itemsize, 0
    buffer = np.empty(_CHUNK, np.uint8)
    file.seek(entry.offset)
    while remaining:
        count = file.readinto(buffer[: min(remaining, _CHUNK)])
        if not count or (count % 8 and count != remaining):
            raise ValueError("the file has become shorter")
        total, remaining = total + _sum(buffer[:count]), remaining - count
    return total % (1 << 64)


def _combined(sums) -> str:
    return f"{zlib.crc32(b''.join(s.to_bytes(8, 'little') for s in sums)):08x}"
