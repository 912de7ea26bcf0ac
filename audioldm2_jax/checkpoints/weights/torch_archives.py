"""The bytes of storages in torch's files: members of a zip file, or one after another."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from audioldm2_jax.errors import InputError

# The pickle of tensors' names and offsets; published files have less than 5 MB.
MAX_PICKLE = 1 << 26


class Archive:
    """The zip format. Storages are members, which torch never compresses."""

    def __init__(self, path: Path):
        self.path, self.zip, self.size = path, zipfile.ZipFile(path), path.stat().st_size
        names = self.zip.namelist()
        entry = next((n for n in names if n == "data.pkl" or n.endswith("/data.pkl")), None)
        if entry is None:
            raise InputError(f"{path}: a zip file, but not torch's: it holds no data.pkl")
        if len(set(names)) != len(names):
            raise InputError(f"{path}: a member stands in it twice; not torch's")
        self.root = entry.removesuffix("data.pkl")
        order = f"{self.root}byteorder"
        if order in names and self._read(order, 16) != b"little":
            raise InputError(f"{path}: written on a big-endian machine, which is not read")

    def pickle(self) -> bytes:
        """The pickle that describes the tensors."""
        return self._read(f"{self.root}data.pkl", MAX_PICKLE)

    def nbytes(self, key: str) -> int:
        """The size of a storage in bytes. Raises InputError if it is not complete."""
        return self._member(f"{self.root}data/{key}").file_size

    def read(self, key: str, start: int, length: int) -> bytes:
        """Bytes of a storage from `start`; a whole storage is checked against its checksum."""
        info = self._member(f"{self.root}data/{key}")
        if (start, length) == (0, info.file_size):
            return self._read(info.filename, length)
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            name, extra = struct.unpack("<26xHH", file.read(30))
            file.seek(info.header_offset + 30 + name + extra + start)
            return file.read(length)

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            info = self.zip.getinfo(name)
        except KeyError:
            raise self._damaged(name) from None
        end = info.header_offset + 30 + info.compress_size
        plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
        if not plain or info.compress_size != info.file_size:
            raise InputError(
                f"{self.path}: its member {name[:200]!r} is compressed or encrypted, which torch "
                "never does; save it anew with torch"
            )
        if not 0 <= info.header_offset <= end <= self.size:
            raise self._damaged(name)
        return info

    def _read(self, name: str, limit: int) -> bytes:
        if (size := self._member(name).file_size) > limit:
            raise InputError(f"{self.path}: its member {name[:200]!r} has {size} bytes, too many")
        try:
            return self.zip.read(name)
        except (zipfile.BadZipFile, EOFError, ValueError, OSError, RuntimeError, struct.error):
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> InputError:
        return InputError(f"{self.path}: storage {name[:200]!r} is damaged; fetch the file again")


class OldFile:
    """The format before torch 1.6: pickles, then storages one after another."""

    def __init__(self, path: Path):
        self.path, self.size, self.spans = path, path.stat().st_size, {}

    def find_storages(self, keys, start: int, itemsizes: dict) -> None:
        """Finds the bytes of each storage. A count of elements stands before them."""
        with self.path.open("rb") as file:
            for key in keys:
                file.seek(start)
                head = file.read(8)
                count = int.from_bytes(head, "little", signed=True)
                size = count * itemsizes.get(str(key), 1)
                if len(head) < 8 or count < 0 or start + 8 + size > self.size:
                    raise InputError(f"{self.path}: not a complete torch archive; fetch it again")
                self.spans[str(key)] = (start + 8, size)
                start += 8 + size

    def nbytes(self, key: str) -> int:
        """The size of a storage in bytes. Raises InputError if it is missing."""
        if key not in self.spans:
            raise InputError(f"{self.path}: storage {key[:200]!r} is damaged; fetch the file again")
        return self.spans[key][1]

    def read(self, key: str, start: int, length: int) -> bytes:
        """Bytes of a storage from `start`."""
        with self.path.open("rb") as file:
            file.seek(self.spans[key][0] + start)
            return file.read(length)
