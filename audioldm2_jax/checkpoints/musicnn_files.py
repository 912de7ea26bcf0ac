"""MusicNN's published checkpoints, inside the wheel of the package `musicnn` or unpacked from it.

The package itself cannot be installed beside today's NumPy, and is not imported.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from audioldm2_jax import files
from audioldm2_jax.checkpoints import single, weights
from audioldm2_jax.errors import InputError

_INDEX, _DATA = ".index", ".data-00000-of-00001"
_LIMIT = 1 << 28  # bytes of one file; the largest has 9.5 MB


def load(path, name: str) -> tuple[single.Single, str]:
    """A published MusicNN, and the SHA-256 of its checkpoint's two files.

    path: the wheel, the package's folder (or the one around it), or the checkpoint's folder. name:
    of the checkpoint, MTT_musicnn (MagnaTagATune) or MSD_musicnn (Million Song Dataset). Raises
    InputError.
    """
    path = files.user_path(path)
    read, folder = _opened(path, name)
    index, data = (read(folder / suffix) for suffix in (_INDEX, _DATA))
    where = f"{path}: {folder / _INDEX}"
    part = single.from_tensors(weights.read_bundle(index, data, where), where)
    labels = _labels(read, folder, where)
    if len(labels) == part.config.classes:
        part.config = dataclasses.replace(part.config, labels=labels)
    return part, hashlib.sha256(index + data).hexdigest()


def _opened(path: Path, name: str) -> tuple[Callable, PurePosixPath]:
    """(a reader of files by their path inside, the checkpoint's folder there)."""
    if path.is_file():
        return _wheel_reader(path), PurePosixPath("musicnn") / name

    def read(member: PurePosixPath) -> bytes:
        try:
            if (path / member).stat().st_size > _LIMIT:
                raise InputError(f"{path / member}: larger than any of the package's files")
            return (path / member).read_bytes()
        except OSError as error:
            raise files.cannot(path / member, "read", error) from None

    for folder in ("musicnn", "", "."):
        place = PurePosixPath(folder) / ("" if folder == "." else name)
        if (path / place / _INDEX).is_file():
            return read, place
    raise InputError(
        f"{path}: holds no {name}; name the wheel of musicnn, or what was unpacked from it"
    )


def _wheel_reader(path: Path) -> Callable[[PurePosixPath], bytes]:
    def read(member: PurePosixPath) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(str(member))
                if info.file_size > _LIMIT:
                    raise InputError(f"{path}: {member} is larger than any of the package's files")
                return archive.read(info)
        except KeyError:
            raise InputError(f"{path}: holds no {member}; name the wheel of musicnn") from None
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as e:
            if isinstance(e, InputError):
                raise
            raise InputError(f"{path}: no readable wheel ({e}); fetch it again") from None

    return read


def _labels(read: Callable, folder: PurePosixPath, where: str) -> tuple[str, ...]:
    """Names of the classes, from the package's configuration.py; () where it does not lie beside.

    The file is parsed, not run.
    """
    name = f"{(folder.name or Path(where).parent.name).split('_')[0]}_LABELS"
    try:
        source = read(folder.parent / "configuration.py").decode("utf-8")
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
                labels = ast.literal_eval(statement.value)
                if isinstance(labels, list) and all(isinstance(x, str) for x in labels):
                    return tuple(labels)
    except (InputError, ValueError, SyntaxError, RecursionError, MemoryError):
        pass
    return ()
