"""Archives: lists members that are read in place, and unpacks archives that cannot be.

Nothing is written outside the scratch folder. Links are not followed. An archive that does not fit
on the disk is refused before it fills the disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from audioldm2_jax import files
from audioldm2_jax.data.ingest.file_ref import FileRef, Unreadable
from audioldm2_jax.data.ingest.names import normalise_name
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import InputError

PACKED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z")
_OUTSIDE_REASON = "its name leads outside the archive"
_LINK_REASON = "link in an archive"
_SPECIAL_REASON = "no ordinary file in an archive"
_MAX_HEADER = 1 << 24  # bytes that a tar header may take in memory
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def stays_inside(name: str) -> bool:
    """Whether a member's path stays inside its archive."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and ":" not in name[:2]


def zip_members(archive: zipfile.ZipFile, path: str) -> Iterator[tuple[str, FileRef | str]]:
    """Yields (name, file or the reason to exclude it) for each file of an open zip at `path`."""
    for member in archive.infolist():
        name = normalise_name(member.filename)
        if member.is_dir():
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            yield name, _LINK_REASON
        elif not stays_inside(name):
            yield name, _OUTSIDE_REASON
        else:
            yield name, FileRef(path, member.filename)


def tar_members(path: Path) -> Iterator[tuple[str, FileRef | str]]:
    """Yields (name, file or the reason to exclude it) for each file of an uncompressed tar.

    Raises tarfile.TarError and OSError for a damaged archive.
    """
    with open(path, "rb") as file, tarfile.open(fileobj=_BoundedReads(file), mode="r:") as archive:
        for member in archive:
            name = normalise_name(member.name)
            if member.isdir():
                continue
            if reason := _exclusion_reason(member, name):
                yield name, reason
            else:
                yield name, FileRef(str(path), "", member.offset_data, member.size)


def _exclusion_reason(member: tarfile.TarInfo, name: str) -> str:
    """Why a tar member is not read, "" if it is."""
    if member.issym() or member.islnk():
        return _LINK_REASON
    if not member.isreg():
        return _SPECIAL_REASON
    if member.issparse():
        return "sparse file in a tar: unpack it beside"
    return "" if stays_inside(name) else _OUTSIDE_REASON


class _BoundedReads:
    """A file with bounded reads: tarfile reads headers of any stated size into memory."""

    def __init__(self, file):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header states {size} bytes")
        return self._file.read(size)


def unpack(archive: Path, scratch: Path, log: Callable[[str], None], report: Report) -> Path:
    """Unpacks an archive into `scratch` once and returns the folder; it is whole or absent.

    Links and members that lead outside are reported and left out. Raises InputError if the disk
    cannot hold the content, Unreadable and other errors for a damaged archive.
    """
    info = archive.stat()
    identity = f"{archive.resolve()} {info.st_size} {info.st_mtime_ns}"
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]
    target = scratch / f"{digest}-{archive.name[:60]}"
    if target.is_dir():
        return target
    log(f"unpacking {archive.name}")
    partial = None
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=scratch, prefix=f".{digest}-"))
        if archive.name.lower().endswith(".7z"):
            _unpack_7z(archive, partial)
        else:
            _unpack_tar(archive, partial, report)
        partial.rename(target)
    except OSError as error:
        if error.errno in _WRITE_ERRORS:
            raise files.cannot(scratch, f"unpack {archive.name} there", error) from None
        raise
    finally:
        if partial:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _check_free_space(archive: Path, target: Path, size: int) -> None:
    """Raises InputError if `size` more bytes do not fit on the disk."""
    free = shutil.disk_usage(target).free
    if size > free:
        raise InputError(
            f"{archive}: unpacked it takes {size / 1e9:.1f} GB, more than the {free / 1e9:.1f} GB "
            f"free at {target.parent}; make room, or unpack it yourself"
        )


def _unpack_tar(archive: Path, target: Path, report: Report) -> None:
    with (
        _decompressed(archive) as file,
        tarfile.open(fileobj=_BoundedReads(file), mode="r:") as packed,
    ):
        for member in packed:
            name = normalise_name(member.name)
            _check_free_space(archive, target, member.size)
            if member.isdir():
                continue
            if reason := _exclusion_reason(member, name):
                report.skip(f"{archive.name}/{name}", reason)
                continue
            try:
                packed.extract(member, target, set_attrs=False, filter="data")
            except tarfile.FilterError:
                report.skip(f"{archive.name}/{name}", _OUTSIDE_REASON)


def _decompressed(archive: Path):
    import bz2
    import gzip
    import lzma

    name = archive.name.lower()
    if name.endswith("gz"):
        return gzip.open(archive)
    return bz2.open(archive) if name.endswith("bz2") else lzma.open(archive, format=lzma.FORMAT_XZ)


def _unpack_7z(archive: Path, target: Path) -> None:
    try:
        import py7zr
    except ImportError:
        raise InputError(
            f"{archive}: 7z archives need the package py7zr: pip install 'audioldm2-jax[corpora]'; "
            "or unpack it beside"
        ) from None
    try:
        with py7zr.SevenZipFile(archive) as packed:
            _check_free_space(archive, target, sum(f.uncompressed or 0 for f in packed.list()))
            packed.extractall(target)
    except (InputError, OSError):
        raise
    except Exception as error:  # py7zr raises many kinds for damage
        raise Unreadable(str(error) or type(error).__name__) from None
