"""Where a file's bytes are: on disk, or inside an archive as it was distributed."""

from __future__ import annotations

import fnmatch
import functools
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from audioldm2_jax.data import split_zip
from audioldm2_jax.data.report import Report
from audioldm2_jax.errors import InputError

# What libsndfile decodes; other sound and video is found, and reported by name.
AUDIO = frozenset(".wav .flac .mp3 .ogg .opus .oga .aif .aiff .au .w64 .rf64 .caf".split())
OTHER_AUDIO = frozenset(".m4a .mp4 .aac .webm .mkv .wma .mov .avi .m4b .ac3".split())
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z")


# What reading files and archives raises for damage; of passwords and methods that it does not know
# zipfile says RuntimeError or a kind of it.
_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)


class Unreadable(Exception):
    """A clip that cannot be used; its message is the reason, the same for clips of one kind."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file, a member of a zip, or `size` bytes at `offset` of an uncompressed tar."""

    path: str
    member: str = ""
    offset: int = -1
    size: int = -1

    def read(self) -> bytes:
        """All bytes. Raises Unreadable."""
        try:
            if self.member:
                return _zip(self.path).read(self.member)
            with open(self.path, "rb") as file:
                if self.offset < 0:
                    return file.read()
                file.seek(self.offset)
                data = file.read(self.size)
        except _DAMAGE as error:
            raise Unreadable(f"cannot be read ({type(error).__name__})") from None
        if len(data) < self.size:
            raise Unreadable("cut off with its archive")
        return data

    def open(self) -> BinaryIO:
        """The bytes as a file, for those too many to hold. Raises Unreadable."""
        if self.member or self.offset >= 0:
            return io.BytesIO(self.read())
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise Unreadable(f"cannot be read ({type(error).__name__})") from None

    @property
    def name(self) -> str:
        return PurePosixPath(self.member or self.path).name


@functools.lru_cache(16)
def _zip(path: str) -> zipfile.ZipFile:
    """Opened once in a process; members are found by its directory."""
    split = split_zip.parts(Path(path))
    return zipfile.ZipFile(split_zip.Joined(split) if split else path)


def plain(name: str) -> str:
    """A name as it is compared: composed characters (macOS decomposes them), forward slashes."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


class Shelf:
    """All files below a folder, those in archives included, by name.

    Zips (whole or split) and plain tars are read where they are; compressed tars and 7z, which can
    only be read from front to back, are unpacked into `scratch` once. Names are relative to the
    folder; an archive counts as a folder of its own name. A damaged archive is reported. Raises
    InputError if there is no such folder.
    """

    def __init__(self, folder, scratch, report: Report, say: Callable[[str], None] | None = None):
        self.folder, self.scratch, self.report = Path(folder), Path(scratch), report
        self.say = say or (lambda text: None)
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; put the corpus' files there")
        self.files: dict[str, Place] = {}
        self._walk(self.folder)

    @functools.cached_property
    def by_base(self) -> dict[str, list[str]]:
        """Names by their last component."""
        return _group(self.files, lambda name: name.rpartition("/")[2])

    @functools.cached_property
    def audio_by_stem(self) -> dict[str, list[str]]:
        """Names of audio (and video) files by their last component without its suffix."""
        kinds = AUDIO | OTHER_AUDIO
        names = [n for n in self.files if PurePosixPath(n).suffix.lower() in kinds]
        return _group(names, lambda name: PurePosixPath(name).stem)

    def matches(self, name: str) -> list[str]:
        """Names that equal `name` or end with it as whole components, the shortest first."""
        name = plain(name)
        if name in self.files:
            return [name]
        found = self.by_base.get(name.rpartition("/")[2], [])
        return sorted((n for n in found if n.endswith("/" + name)), key=lambda n: (len(n), n))

    def glob(self, pattern: str) -> list[str]:
        """Names that fit a pattern such as `json_files/*.json`, below any folder, sorted."""
        fits = fnmatch.fnmatchcase
        return sorted(n for n in self.files if fits(n, pattern) or fits(n, "*/" + pattern))

    def place(self, name: str) -> Place | None:
        """Where the file of that name is, the one nearest to the folder; None if there is none."""
        found = self.matches(name)
        return self.files[found[0]] if found else None

    def need(self, name: str) -> bytes:
        """A metadata file's bytes. Raises InputError if it is not there or not readable."""
        if not (place := self.place(name)):
            raise InputError(
                f"{self.folder}: {name} is not there, nor in an archive there (see the README)"
            )
        try:
            return place.read()
        except Unreadable as error:
            raise InputError(f"{self.folder}: {name}: {error}") from None

    def _walk(self, folder: Path, under: str = "") -> None:
        for root, folders, names in os.walk(folder):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(names):
                path = Path(root, name)
                if not name.startswith(".") and not name.endswith(".part"):
                    inner = under + plain(path.relative_to(folder).as_posix())
                    self.files[inner] = Place(str(path))
                    self._open(path, f"{inner}/")

    def _open(self, path: Path, under: str) -> None:
        """Adds an archive's members, if it is one."""
        name = path.name.lower()
        try:
            if name.endswith(".zip"):
                for member in _zip(str(path)).infolist():
                    if not member.is_dir():
                        place = Place(str(path), member.filename)
                        self.files[under + plain(member.filename)] = place
            elif name.endswith(".tar"):
                self._tar(path, under)
            elif name.endswith(_PACKED):
                self._walk(unpack(path, self.scratch, self.say), under)
        except (*_DAMAGE, Unreadable) as error:
            self.report.skip(path.name, f"damaged archive ({error})")

    def _tar(self, path: Path, under: str) -> None:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    place = Place(str(path), "", member.offset_data, member.size)
                    self.files[under + plain(member.name)] = place


def _group(names, key) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups


def unpack(archive: Path, scratch: Path, say: Callable[[str], None]) -> Path:
    """The folder with an archive's content, made once, whole or not at all.

    Raises Unreadable for a damaged archive.
    """
    target = scratch / archive.name
    if target.is_dir():
        return target
    say(f"unpacking {archive.name}")
    scratch.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=scratch, prefix=f".{archive.name[:40]}-"))
    try:
        if archive.name.lower().endswith(".7z"):
            _unpack_7z(archive, beside)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(beside, filter="data")
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


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
            packed.extractall(target)
    except (py7zr.exceptions.ArchiveError, lzma.LZMAError) as error:
        raise Unreadable(str(error) or type(error).__name__) from None
