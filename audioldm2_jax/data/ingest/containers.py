"""What the headers of sound files state of their length, and whether the file holds it.

libsndfile reads a truncated WAV, AIFF, AU or Ogg as if it were whole, and some files whose length
was unknown when they were written (to a pipe) as empty; of joined streams it reads the first.
Layouts: Microsoft's RIFF and its 64-bit forms (EBU Tech 3306, Sony Wave64), Apple's AIFF and CAF,
Sun's AU, RFC 3533 (Ogg).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from audioldm2_jax.data.ingest import mpeg

# Writers miscount by their own headers; this much may be missing.
SLACK = 64
_CHUNKS = 10000
_FIRST, _LAST = 2, 4  # flags of an Ogg page: of its stream the first, the last
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True)
class Extent:
    """Where a file's sound lies.

    start: its first byte; size: bytes as stated, None if it was not known; place, layout: of the
    field that states it, as struct writes it; header: bytes that the field counts besides.
    """

    start: int
    size: int | None
    place: int
    layout: str
    header: int = 0


def extent(data: bytes) -> Extent | None:
    """None for formats without such a field, and for headers that cannot be followed."""
    kind = data[:4]
    try:
        if kind in (b"RIFF", b"RIFX", b"RF64", b"BW64") and data[8:12] == b"WAVE":
            return _wave(data, ">" if kind == b"RIFX" else "<")
        if kind == b"riff" and data[24:28] == b"wave":
            return _wave64(data)
        if kind == b"FORM" and data[8:11] == b"AIF":
            return _aiff(data)
        if kind in (b".snd", b"dns."):
            return _au(data, ">" if kind == b".snd" else "<")
        if kind == b"caff":
            return _caf(data)
    except (struct.error, OverflowError):  # a chunk that leads beyond the file
        pass
    return None


def completed(data: bytes) -> bytes:
    """The file with its length filled in where the header leaves it open, without leading tags."""
    data = mpeg.untagged(data)
    span = extent(data)
    if span is None:
        return mpeg.completed(data)
    if span.size is not None:
        return data
    out, size = bytearray(data), len(data) - span.start + span.header
    struct.pack_into(span.layout, out, span.place, size)
    return bytes(out)


def cut_off(data: bytes) -> bool:
    """Whether the header states more bytes than there are, or an Ogg page is not whole."""
    data = mpeg.untagged(data)
    if data[:4] == b"OggS":
        return any(stop > len(data) for stop, _ in _pages(data))
    span = extent(data)
    return bool(span and span.size and span.start + span.size > len(data) + SLACK)


def open_ended(data: bytes) -> bool:
    """Whether nothing marks the end: a length that was not known, an Ogg without a last page."""
    data = mpeg.untagged(data)
    if data[:4] == b"OggS":
        return not any(flags & _LAST for _, flags in _pages(data))
    if data[:4] == b"fLaC":
        # The low 36 bits of bytes 18 to 25 count the samples; 0 is unknown.
        return len(data) >= 26 and not int.from_bytes(data[18:26], "big") & (1 << 36) - 1
    span = extent(data)
    return mpeg.open_ended(data) if span is None else span.size is None


def joined(data: bytes) -> bool:
    """Whether another stream follows the first, in a chained Ogg or a joined MP3."""
    data = mpeg.untagged(data)
    if data[:4] != b"OggS":
        return mpeg.joined(data)
    firsts = [bool(flags & _FIRST) for _, flags in _pages(data)]
    return any(first and not before for before, first in itertools.pairwise(firsts))


def _chunks(data, place, layout, header) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its size stands, size) of RIFF-like chunks; sizes are rounded up to even."""
    for _ in range(_CHUNKS):
        (size,) = struct.unpack_from(layout, data, place + 4)
        yield data[place : place + 4], place + 4, size
        place += header + size + size % 2


def _wave(data, order) -> Extent | None:
    wide = None
    for name, place, size in _chunks(data, 12, order + "I", 8):
        if name == b"ds64":
            wide = place + 12
        if name != b"data":
            continue
        start = place + 4
        if wide is not None and size == 0xFFFFFFFF:
            (size,) = struct.unpack_from("<Q", data, wide)
            known = 0 < size < 1 << 62
            return Extent(start, size if known else None, wide, "<Q")
        # What programs write to pipes: 0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF and numbers near them.
        known = 0 < size < 0x7FFF0000 or start + size <= len(data)
        if size == 0 and not _ends(data, start, order):
            known = False
        return Extent(start, size if known else None, place, order + "I")
    return None


def _ends(data, place, order) -> bool:
    """Whether there is nothing from `place` on but whole chunks."""
    while place + 8 <= len(data):
        if not data[place : place + 4].decode("latin-1").isprintable():
            return False
        (size,) = struct.unpack_from(order + "I", data, place + 4)
        place += 8 + size + size % 2
    return len(data) <= place <= len(data) + 1


def _wave64(data) -> Extent | None:
    place = 40
    for _ in range(_CHUNKS):
        (size,) = struct.unpack_from("<Q", data, place + 16)
        if data[place : place + 16] == _W64_DATA:
            known = 24 < size < 1 << 62
            return Extent(place + 24, size - 24 if known else None, place + 16, "<Q", 24)
        if size < 24:
            return None
        place += size + -size % 8
    return None


def _aiff(data) -> Extent | None:
    for name, place, size in _chunks(data, 12, ">I", 8):
        if name == b"SSND":
            known = 8 < size < 0x7F000000
            return Extent(place + 12, size - 8 if known else None, place, ">I", 8)
    return None


def _au(data, order) -> Extent:
    start, size = struct.unpack_from(order + "2I", data, 4)
    known = 0 < size < 0xFFFFFFFF or start >= len(data)
    return Extent(start, size if known else None, 8, order + "I")


def _caf(data) -> Extent | None:
    place = 8
    for _ in range(_CHUNKS):
        (size,) = struct.unpack_from(">q", data, place + 4)
        if data[place : place + 4] == b"data":
            known = 4 < size < 1 << 62
            return Extent(place + 16, size - 4 if known else None, place + 4, ">q", 4)
        if size < 0:
            return None
        place += 12 + size
    return None


def _pages(data) -> Iterator[tuple[int, int]]:
    """(where it ends, its flags) of each Ogg page."""
    place = 0
    while data[place : place + 4] == b"OggS":
        if place + 27 > len(data):
            yield place + 27, 0
            return
        count = data[place + 26]
        table = data[place + 27 : place + 27 + count]
        stop = place + 27 + count + sum(table)
        if len(table) < count:
            stop = len(data) + 1
        yield stop, data[place + 5]
        place = stop
