"""Archives of a corpus: which members are read in place, and unpacking those that cannot be.

Nothing is written outside the scratch folder, links are not followed, and what would not fit on the
disk is refused before it fills it.
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
_OUTSIDE = "its name leads outside the archive"
_LINK = "link in an archive"
_SPECIAL = "no ordinary file in an archive"
_HEADER = 1 << 24  # bytes that a tar's header may take in memory
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def inside(name: str) -> bool:
    """Whether a member's name stays inside its archive."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and ":" not in name[:2]


def zip_members(archive: zipfile.ZipFile, path: str) -> Iterator[tuple[str, FileRef | str]]:
    """(name, place, or the reason that there is none) of a zip's files."""
    for member in archive.infolist():
        name = normalise_name(member.filename)
        if member.is_dir():
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            yield name, _LINK
        elif not inside(name):
            yield name, _OUTSIDE
        else:
            yield name, FileRef(path, member.filename)


def tar_members(path: Path) -> Iterator[tuple[str, FileRef | str]]:
    """The same of an uncompressed tar."""
    with open(path, "rb") as file, tarfile.open(fileobj=_Bounded(file), mode="r:") as archive:
        for member in archive:
            name = normalise_name(member.name)
            if member.isdir():
                continue
            if reason := _refused(member, name):
                yield name, reason
            else:
                yield name, FileRef(str(path), "", member.offset_data, member.size)


def _refused(member: tarfile.TarInfo, name: str) -> str:
    """Why a tar's member is not read, "" if it is."""
    if member.issym() or member.islnk():
        return _LINK
    if not member.isreg():
        return _SPECIAL
    if member.issparse():
        return "sparse file in a tar: unpack it beside"
    return "" if inside(name) else _OUTSIDE


class _Bounded:
    """A file whose reads are bounded: tarfile reads headers of any stated size into memory."""

    def __init__(self, file):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER:
            raise tarfile.ReadError(f"a header states {size} bytes")
        return self._file.read(size)


def unpack(archive: Path, scratch: Path, say: Callable[[str], None], report: Report) -> Path:
    """The folder with an archive's content, made once, whole or not at all.

    Members that lead outside, and links, are reported. Raises InputError if the disk cannot take
    it, Unreadable and others for a damaged archive.
    """
    facts = archive.stat()
    mark = f"{archive.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    digest = hashlib.sha256(os.fsencode(mark)).hexdigest()[:12]
    target = scratch / f"{digest}-{archive.name[:60]}"
    if target.is_dir():
        return target
    say(f"unpacking {archive.name}")
    beside = None
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=scratch, prefix=f".{digest}-"))
        if archive.name.lower().endswith(".7z"):
            _unpack_7z(archive, beside)
        else:
            _unpack_tar(archive, beside, report)
        beside.rename(target)
    except OSError as error:
        if error.errno in _UNWRITABLE:
            raise files.cannot(scratch, f"unpack {archive.name} there", error) from None
        raise
    finally:
        if beside:
            shutil.rmtree(beside, ignore_errors=True)
    return target


def _room(archive: Path, target: Path, size: int) -> None:
    """Raises InputError if `size` more bytes do not fit."""
    free = shutil.disk_usage(target).free
    if size > free:
        raise InputError(
            f"{archive}: unpacked it takes {size / 1e9:.1f} GB, more than the {free / 1e9:.1f} GB "
            f"free at {target.parent}; make room, or unpack it yourself"
        )


def _unpack_tar(archive: Path, target: Path, report: Report) -> None:
    with _decompressed(archive) as file, tarfile.open(fileobj=_Bounded(file), mode="r:") as packed:
        for member in packed:
            name = normalise_name(member.name)
            _room(archive, target, member.size)
            if member.isdir():
                continue
            if reason := _refused(member, name):
                report.skip(f"{archive.name}/{name}", reason)
                continue
            try:
                packed.extract(member, target, set_attrs=False, filter="data")
            except tarfile.FilterError:
                report.skip(f"{archive.name}/{name}", _OUTSIDE)


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
            _room(archive, target, sum(f.uncompressed or 0 for f in packed.list()))
            packed.extractall(target)
    except (InputError, OSError):
        raise
    except Exception as error:  # py7zr raises many kinds for damage
        raise Unreadable(str(error) or type(error).__name__) from None
