"""Where a file's bytes are: on disk, or inside an archive as it was distributed."""

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

# What libsndfile decodes; other sound and video is found, and reported by name.
AUDIO_SUFFIXES = frozenset(".wav .flac .mp3 .ogg .opus .oga .aif .aiff .au .w64 .rf64 .caf".split())
UNSUPPORTED_SUFFIXES = frozenset(".m4a .mp4 .aac .webm .mkv .wma .mov .avi .m4b .ac3".split())
# Bytes of a clip: a record cannot hold 2 GiB.
_DENSE, _RATIO = 1 << 26, 200  # of larger members of a zip; sound is not that dense
MAX_BYTES = (1 << 31) - (1 << 20)


class Unreadable(Exception):
    """A clip that cannot be used; its message is the reason, the same for clips of one kind."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file, a member of a zip, or `size` bytes at `offset` of an uncompressed tar."""

    path: str
    member: str = ""
    offset: int = -1
    size: int = -1

    def read(self, limit: int = MAX_BYTES) -> bytes:
        """All bytes. Raises Unreadable, also for more than `limit` of them."""
        try:
            if self.member:
                archive = open_zip(self.path)
                facts = archive.getinfo(self.member)
                _check_size(facts.file_size, limit)
                if facts.file_size > max(_DENSE, _RATIO * facts.compress_size):
                    raise Unreadable(f"grows more than {_RATIO} times when unpacked")
                return archive.read(self.member)
            facts = os.stat(self.path)
            if not stat.S_ISREG(facts.st_mode):
                raise Unreadable("no ordinary file")
            _check_size(facts.st_size if self.offset < 0 else self.size, limit)
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


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Unreadable(f"larger than {limit / 1e6:.0f} MB")


@functools.lru_cache(16)
def open_zip(path: str) -> zipfile.ZipFile:
    """Opened once in a process; members are found by its directory."""
    split = split_zip.volumes(Path(path))
    return zipfile.ZipFile(split_zip.JoinedZip(split) if split else path)
