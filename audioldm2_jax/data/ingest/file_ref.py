"""References to files: on disk, or inside an archive as it was distributed."""

from __future__ import annotations

import functools
import io
import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from audioldm2_jax.data.ingest import split_zip

# Formats that libsndfile decodes.
AUDIO_SUFFIXES = frozenset(".wav .flac .mp3 .ogg .opus .oga .aif .aiff .au .w64 .rf64 .caf".split())
# Audio and video that is found but not decoded; it is reported by name.
UNSUPPORTED_SUFFIXES = frozenset(".m4a .mp4 .aac .webm .mkv .wma .mov .avi .m4b .ac3".split())
# A record cannot hold 2 GiB.
MAX_BYTES = (1 << 31) - (1 << 20)
# A zip member above _RATIO_CHECKED bytes may unpack to at most _MAX_RATIO times its packed size.
_RATIO_CHECKED, _MAX_RATIO = 1 << 26, 200


class Unreadable(Exception):
    """Raised for a clip that cannot be used. The message is the reason, equal for equal causes."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file on disk, a member of a zip, or a byte range of an uncompressed tar.

    path: the file or the archive. member: the zip member's name, "" for none. offset, size: the
    byte range in a tar, -1 for none.
    """

    path: str
    member: str = ""
    offset: int = -1
    size: int = -1

    def read(self, limit: int = MAX_BYTES) -> bytes:
        """Returns all bytes.

        Raises Unreadable for a file that is missing, damaged, or larger than `limit` bytes.
        """
        try:
            if self.member:
                archive = open_zip(self.path)
                info = archive.getinfo(self.member)
                _check_size(info.file_size, limit)
                if info.file_size > max(_RATIO_CHECKED, _MAX_RATIO * info.compress_size):
                    raise Unreadable(f"grows more than {_MAX_RATIO} times when unpacked")
                return archive.read(self.member)
            info = os.stat(self.path)
            if not stat.S_ISREG(info.st_mode):
                raise Unreadable("no ordinary file")
            _check_size(info.st_size if self.offset < 0 else self.size, limit)
            with open(self.path, "rb") as file:
                if self.offset < 0:
                    return file.read()
                file.seek(self.offset)
                data = file.read(self.size)
        except Unreadable:
            raise
        except Exception as error:  # zipfile and its decompressors raise many kinds for damage
            raise Unreadable(f"cannot be read ({type(error).__name__})") from None
        if len(data) < self.size:
            raise Unreadable("cut off with its archive")
        return data

    def open(self) -> BinaryIO:
        """Opens a file that may be too large for memory. Raises Unreadable.

        Members of archives are read into memory.
        """
        if self.member or self.offset >= 0:
            return io.BytesIO(self.read())
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise Unreadable(f"cannot be read ({type(error).__name__})") from None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePosixPath(self.member or self.path).name


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Unreadable(f"larger than {limit / 1e6:.0f} MB")


@functools.lru_cache(16)
def open_zip(path: str) -> zipfile.ZipFile:
    """Opens a zip, whole or split, once per process. Raises zipfile.BadZipFile and OSError."""
    volumes = split_zip.volumes(Path(path))
    return zipfile.ZipFile(split_zip.JoinedZip(volumes) if volumes else path)
