"""Files that only save time: written whole or not at all, within a bound, never required.

A file's name says what it was computed from. A folder that is missing, full or read-only costs the
time of computing again, and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from audioldm2_jax.errors import InputError

_PACKAGE = Path(__file__).parent
# After so many seconds, a temporary file belongs to a process that was killed.
_ABANDONED = 24 * 3600


@functools.cache
def source_digest() -> str:
    """A hash of the package's own code, so that another version finds nothing of this one's."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def key(*values) -> str:
    """A name for what these values decide; they are JSON's."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def stamps(folders: Iterable[Path]) -> list:
    """What changes if a file in one of the folders is written or replaced. Raises OSError."""
    entries = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            s = path.stat()
            place = [str(path), s.st_dev, s.st_ino, s.st_size]
            entries.append([*place, s.st_mtime_ns, s.st_ctime_ns])
    return entries


def mark_used(path: Path) -> None:
    """Notes that a file was used: `store` deletes those first that were not for the longest."""
    with suppress(OSError):
        os.utime(path)


def store(path: Path, write: Callable[[Path], None], *, limit: int) -> bool:
    """Calls `write` with a temporary path, and moves it to `path`. Returns whether that worked.

    limit: bytes that the folder's files may take together; the longest unused ones are deleted.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, InputError):
        return False
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    with suppress(OSError):
        _shrink(path, limit)
    return path.exists()


def _shrink(newest: Path, limit: int) -> None:
    """Deletes abandoned files, and the longest unused ones beyond the limit."""
    entries = []
    for path in newest.parent.iterdir():
        with suppress(OSError):
            entries.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in entries)
    for modified, size, path in sorted(entries):
        partial = path.name.startswith(".")
        if path == newest or (partial and time.time() - modified < _ABANDONED):
            continue
        if partial or total > limit:
            with suppress(OSError):
                path.unlink()
                total -= size
