"""Reads a split zip (name.z01, name.z02, ..., name.zip) as one file without joining it on disk.

WavCaps is distributed this way. The directory of a split zip states each member's volume and its
offset in that volume. `JoinedZip` concatenates the volumes and rewrites the directory with offsets
from the start. Layout: PKWARE's APPNOTE 6.3, sections 4.3 and 4.4.
"""

from __future__ import annotations

import bisect
import io
import struct
import zipfile
from pathlib import Path

_ENTRY = struct.Struct("<4s4B4HL2L5H2L")  # central directory entry
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_FULL = 0xFFFFFFFF


def volumes(path: Path) -> list[Path] | None:
    """Returns all volumes of a split zip, given its last one (.zip); None for an ordinary zip."""
    path = Path(path)
    kind = ".Z" if path.suffix.isupper() else ".z"
    if not path.with_suffix(f"{kind}01").is_file():
        return None
    volumes, number = [], 1
    while (volume := path.with_suffix(f"{kind}{number:02d}")).is_file():
        volumes.append(volume)
        number += 1
    return [*volumes, path]


class JoinedZip(io.RawIOBase):
    """Presents volumes as one readable zip. Raises zipfile.BadZipFile if they do not match."""

    def __init__(self, files: list[Path]):
        self._files = [open(path, "rb") for path in files]  # noqa: SIM115
        sizes = [path.stat().st_size for path in files]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._tail = b""
        self._data = self._length = sum(sizes)
        start, directory = self._directory(files)
        self._data, self._tail = start, directory
        self._length = start + len(directory)
        self._position = 0

    def _directory(self, files) -> tuple[int, bytes]:
        """Returns where the members' data ends, and a directory with offsets from the start."""
        size = self._length - self._starts[-1]
        tail = self._at(self._length - min(size, 65557), min(size, 65557))
        end = tail.rfind(b"PK\5\6")
        if end < 0:
            raise zipfile.BadZipFile(f"{files[-1]}: no zip directory at its end")
        _, disk, first, _, count, length, offset, _ = _END.unpack_from(tail, end)
        if (locator := tail[end - 20 : end])[:4] == b"PK\6\7":
            _, disk64, offset64, _disks = _LOCATOR.unpack(locator)
            end64 = self._at(self._absolute(disk64, offset64, files), _END64.size)
            _, _, _, _, disk, first, _, count, length, offset = _END64.unpack(end64)
        if disk != len(files) - 1:
            missing = f"{disk + 1} parts are needed, {len(files)} are there"
            raise zipfile.BadZipFile(f"{files[-1]}: split zip incomplete: {missing}")
        start = self._absolute(first, offset, files)
        entries = self._rebased(self._at(start, length), count, files)
        end64 = _END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entries), start)
        locator = _LOCATOR.pack(b"PK\6\7", 0, start + len(entries), 1)
        end_record = _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, _FULL, _FULL, 0)
        return start, entries + end64 + locator + end_record

    def _rebased(self, directory: bytes, count: int, files) -> bytes:
        """Rewrites the directory's entries: volume 0, offsets from the start, 64-bit fields."""
        entries, position = [], 0
        for _ in range(count):
            fields = list(_ENTRY.unpack_from(directory, position))
            # 10, 11: sizes; 12 to 14: lengths of name, extra, comment; 15: volume; 18: offset.
            packed, size, name, extra, comment = fields[10:15]
            start = position + _ENTRY.size
            member = directory[start : start + name]
            wide = {"size": size, "packed": packed, "offset": fields[18], "disk": fields[15]}
            others = _read_zip64(directory[start + name : start + name + extra], wide)
            offset = self._absolute(wide["disk"], wide["offset"], files)
            others += struct.pack("<2H3Q", 1, 24, wide["size"], wide["packed"], offset)
            fields[10:12], fields[13], fields[15] = (_FULL, _FULL), len(others), 0
            fields[18] = _FULL
            note = directory[start + name + extra : start + name + extra + comment]
            entries.append(_ENTRY.pack(*fields) + member + others + note)
            position = start + name + extra + comment
        return b"".join(entries)

    def _absolute(self, disk, offset, files) -> int:
        if disk >= len(files):
            raise zipfile.BadZipFile(f"{files[-1]}: split zip incomplete: part {disk + 1} missing")
        return self._starts[disk] + offset

    def _at(self, position: int, size: int) -> bytes:
        """Reads `size` bytes of the joined file, fewer at its end."""
        out = []
        while size > 0 and position < self._length:
            if position >= self._data:
                chunk = self._tail[position - self._data : position - self._data + size]
            else:
                volume = bisect.bisect_right(self._starts, position) - 1
                file = self._files[volume]
                file.seek(position - self._starts[volume])
                chunk = file.read(min(size, self._data - position))
            if not chunk:
                break
            out.append(chunk)
            position, size = position + len(chunk), size - len(chunk)
        return b"".join(out)

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._position

    def seek(self, offset, whence=io.SEEK_SET):
        self._position = offset + (0, self._position, self._length)[whence]
        return self._position

    def read(self, size=-1):
        data = self._at(
            self._position, self._length - self._position if size is None or size < 0 else size
        )
        self._position += len(data)
        return data

    def close(self):
        for file in self._files:
            file.close()
        super().close()


def _read_zip64(extra: bytes, values: dict) -> bytes:
    """Reads the 64-bit field into `values`; returns the other extra fields."""
    others, position = b"", 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        body = extra[position + 4 : position + 4 + length]
        if kind == 1:
            at = 0
            for name in ("size", "packed", "offset"):
                if values[name] == _FULL:
                    (values[name],) = struct.unpack_from("<Q", body, at)
                    at += 8
            if values["disk"] == 0xFFFF:
                (values["disk"],) = struct.unpack_from("<L", body, at)
        else:
            others += extra[position : position + 4 + length]
        position += 4 + length
    return others
