"""Split zips (name.z01, name.z02, ..., name.zip) read as one file, without joining them on disk.

WavCaps is distributed so. The directory of a split zip gives each member's part and its offset in
that part; the joined view presents the parts one after another with a directory of its own, in
which offsets count from the start. Layout: PKWARE's APPNOTE 6.3, sections 4.3 and 4.4.
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


def parts(path: Path) -> list[Path] | None:
    """All parts of a split zip, the last (.zip) named; None for an ordinary zip."""
    path = Path(path)
    kind = ".Z" if path.suffix.isupper() else ".z"
    if not path.with_suffix(f"{kind}01").is_file():
        return None
    found, number = [], 1
    while (part := path.with_suffix(f"{kind}{number:02d}")).is_file():
        found.append(part)
        number += 1
    return [*found, path]


class Joined(io.RawIOBase):
    """The parts as one readable zip. Raises zipfile.BadZipFile if they do not belong together."""

    def __init__(self, files: list[Path]):
        self._files = [open(path, "rb") for path in files]  # noqa: SIM115
        sizes = [path.stat().st_size for path in files]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._tail = b""
        self._data = self._length = sum(sizes)
        start, directory = self._directory(files)
        self._data, self._tail = start, directory
        self._length = start + len(directory)
        self._place = 0

    def _directory(self, files) -> tuple[int, bytes]:
        """Where the members' data ends, and the directory with offsets from the start."""
        size = self._length - self._starts[-1]
        tail = self._at(self._length - min(size, 65557), min(size, 65557))
        place = tail.rfind(b"PK\5\6")
        if place < 0:
            raise zipfile.BadZipFile(f"{files[-1]}: no zip directory at its end")
        _, disk, first, _, count, length, offset, _ = _END.unpack_from(tail, place)
        if (locator := tail[place - 20 : place])[:4] == b"PK\6\7":
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
        end = _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, _FULL, _FULL, 0)
        return start, entries + end64 + locator + end

    def _rebased(self, directory: bytes, count: int, files) -> bytes:
        """The directory's entries with part 0 and offsets from the start, as 64-bit fields."""
        out, place = [], 0
        for _ in range(count):
            fields = list(_ENTRY.unpack_from(directory, place))
            # Indices: 10, 11 sizes; 12, 13, 14 lengths of name, extra, comment; 15 part; 18 offset.
            packed, size, name, extra, comment = fields[10:15]
            start = place + _ENTRY.size
            title = directory[start : start + name]
            wide = {"size": size, "packed": packed, "offset": fields[18], "disk": fields[15]}
            kept = _wide(directory[start + name : start + name + extra], wide)
            where = self._absolute(wide["disk"], wide["offset"], files)
            kept += struct.pack("<2H3Q", 1, 24, wide["size"], wide["packed"], where)
            fields[10:12], fields[13], fields[15], fields[18] = (_FULL, _FULL), len(kept), 0, _FULL
            note = directory[start + name + extra : start + name + extra + comment]
            out.append(_ENTRY.pack(*fields) + title + kept + note)
            place = start + name + extra + comment
        return b"".join(out)

    def _absolute(self, disk, offset, files) -> int:
        if disk >= len(files):
            raise zipfile.BadZipFile(f"{files[-1]}: split zip incomplete: part {disk + 1} missing")
        return self._starts[disk] + offset

    def _at(self, place: int, size: int) -> bytes:
        """Bytes of the joined file, short at its end."""
        out = []
        while size > 0 and place < self._length:
            if place >= self._data:
                chunk = self._tail[place - self._data : place - self._data + size]
            else:
                part = bisect.bisect_right(self._starts, place) - 1
                file = self._files[part]
                file.seek(place - self._starts[part])
                chunk = file.read(min(size, self._data - place))
            if not chunk:
                break
            out.append(chunk)
            place, size = place + len(chunk), size - len(chunk)
        return b"".join(out)

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._place

    def seek(self, offset, whence=io.SEEK_SET):
        self._place = offset + (0, self._place, self._length)[whence]
        return self._place

    def read(self, size=-1):
        data = self._at(
            self._place, self._length - self._place if size is None or size < 0 else size
        )
        self._place += len(data)
        return data

    def close(self):
        for file in self._files:
            file.close()
        super().close()


def _wide(extra: bytes, values: dict) -> bytes:
    """Reads the 64-bit field into `values`; returns the other extra fields."""
    kept, place = b"", 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        body = extra[place + 4 : place + 4 + length]
        if kind == 1:
            at = 0
            for name in ("size", "packed", "offset"):
                if values[name] == _FULL:
                    (values[name],) = struct.unpack_from("<Q", body, at)
                    at += 8
            if values["disk"] == 0xFFFF:
                (values["disk"],) = struct.unpack_from("<L", body, at)
        else:
            kept += extra[place : place + 4 + length]
        place += 4 + length
    return kept
