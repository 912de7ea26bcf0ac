"""Atomic writing of files, and reading of small ones.

Every error of the file system (no space, no permission, a folder in place of a file) becomes an
InputError of one line that names the path.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from audioldm2_jax.errors import InputError


def cannot(path, what: str, error: OSError) -> InputError:
    """An InputError for an OSError: `PATH: cannot WHAT (No space left on device)`."""
    return InputError(f"{path}: cannot {what} ({error.strerror or error})")


def user_path(name) -> Path:
    """The path of a name that a user typed, `~` expanded. Raises InputError if it is none."""
    try:
        if "\0" in str(name):
            raise ValueError("a null character")
        return Path(name).expanduser()
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{str(name)!r:.200}: no path ({error})") from None


def cache_folder(name: str) -> Path:
    """The package's folder of this name in the user's cache: $XDG_CACHE_HOME or ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "audioldm2-jax" / name


def make_folder(path) -> None:
    """Makes a folder, and those above it, where they are missing. Raises InputError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot(path, "write", error) from None


@contextmanager
def atomic_file(path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, moved to `path` at the end of the block.

    It keeps the suffix, from which some writers read the format. If the block raises, it is
    deleted; the next writer replaces the leftovers of a killed process. Raises InputError if the
    file cannot be written.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        if "\0" in path.name or path.is_dir():
            raise InputError(f"{path}: no file can have this name, or a folder has it")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise cannot(path, "write", error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A hidden name in the same folder, always the same for `path`, short enough for any disk."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.with_name(f".{digest}.part{path.suffix[:16]}")


def write_bytes(path, content: bytes) -> None:
    """Writes a file. Raises InputError if it cannot be written."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_together(contents: dict[Path, bytes]) -> None:
    """Writes several files, all or none; the first one appears last.

    Raises InputError, naming the file that cannot be written.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(atomic_file(path)).write_bytes(content)


def write_text(path, text: str) -> None:
    """Writes UTF-8; lone surrogates become backslash escapes. Raises InputError."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path, content, *, indent: int = 1, sort_keys: bool = False) -> None:
    """Writes UTF-8 JSON, a line break at its end. Raises InputError if it cannot be written."""
    text = json.dumps(content, ensure_ascii=False, indent=indent, sort_keys=sort_keys)
    write_text(path, text + "\n")


def read_text(path, *, limit: int = 1 << 28) -> str:
    """A UTF-8 text file without its byte-order mark.

    limit: largest size in bytes. Raises InputError for a file that is missing, larger, no ordinary
    file, or not UTF-8 (naming the line).
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'no ordinary file' if path.exists() else 'no such file'}")
        if (size := path.stat().st_size) > limit:
            raise InputError(f"{path}: {size} bytes, more than the {limit} read of such a file")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot read ({getattr(error, 'strerror', error)})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None


def read_json(path, kind: type | tuple[type, ...] = dict, *, limit: int = 1 << 26):
    """The content of a JSON file whose outermost value is a `kind`.

    limit: largest size in bytes. Raises InputError for any other file.
    """
    text = read_text(path, limit=limit)
    try:
        content = json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: not readable as JSON (nested too deeply)") from None
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, kind):
        raise InputError(f"{path}: holds a JSON {type(content).__name__}, which is not expected")
    return content


def check_new(folder) -> Path:
    """The path of a folder that is absent or empty. Raises InputError for any other."""
    folder = Path(folder)
    try:
        if b"\0" in os.fsencode(folder):
            raise ValueError("a NUL in its name")
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot use it ({getattr(error, 'strerror', error)})") from None
    if taken:
        raise InputError(f"{folder}: exists and is not empty; choose another folder")
    return folder


def write_folder(folder, write: Callable[[Path], None]) -> None:
    """Creates a folder atomically: `write(temporary)` fills it, then it is moved into place.

    The next writer replaces the leftovers of a killed process. Raises InputError if the folder
    is not empty or cannot be written.
    """
    folder = check_new(folder)
    temporary = _temporary(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise cannot(folder, "write", error) from None
    except InputError as error:
        # A file inside it, which the user knows by the folder's own name.
        raise InputError(str(error).replace(str(temporary), str(folder))) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
