"""The length that audio containers state in their headers, and whether the file is that long.

libsndfile reads a truncated WAV, AIFF, AU or Ogg file as if it were whole. It reads some files of
unknown length (written to a pipe) as empty, and only the first of several joined streams. Layouts:
Microsoft's RIFF and its 64-bit forms (EBU Tech 3306, Sony Wave64), Apple's AIFF and CAF, Sun's AU,
RFC 3533 (Ogg).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from audioldm2_jax.data.ingest import mpeg

# Bytes that may be missing: writers miscount their own headers.
SLACK = 64
_MAX_CHUNKS = 10000
_FIRST, _LAST = 2, 4  # flags of an Ogg page: of its stream the first, the last
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True)
class Extent:
    """The byte range of a file's audio data.

    start: its first byte. size: bytes as stated, None if unknown. field, layout: offset and struct
    format of the field that states the size. header: bytes that the field counts besides.
    """

    start: int
    size: int | None
    field: int
    layout: str
    header: int = 0


def find_extent(data: bytes) -> Extent | None:
    """Finds the audio data; None for formats without a size field, and for broken headers."""
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


def with_length(data: bytes) -> bytes:
    """Fills in a length that the header leaves open; removes leading ID3 tags."""
    data = mpeg.strip_id3(data)
    span = find_extent(data)
    if span is None:
        return mpeg.with_frame_count(data)
    if span.size is not None:
        return data
    completed, size = bytearray(data), len(data) - span.start + span.header
    struct.pack_into(span.layout, completed, span.field, size)
    return bytes(completed)


def is_truncated(data: bytes) -> bool:
    """Whether the file is shorter than its header states, or ends within an Ogg page."""
    data = mpeg.strip_id3(data)
    if data[:4] == b"OggS":
        return any(stop > len(data) for stop, _ in _pages(data))
    span = find_extent(data)
    return bool(span and span.size and span.start + span.size > len(data) + SLACK)


def lacks_length(data: bytes) -> bool:
    """Whether the file states no length, or is an Ogg stream without a last page."""
    data = mpeg.strip_id3(data)
    if data[:4] == b"OggS":
        return not any(flags & _LAST for _, flags in _pages(data))
    if data[:4] == b"fLaC":
        # The low 36 bits of bytes 18 to 25 count the samples; 0 is unknown.
        return len(data) >= 26 and not int.from_bytes(data[18:26], "big") & (1 << 36) - 1
    span = find_extent(data)
    return mpeg.lacks_frame_count(data) if span is None else span.size is None


def has_several_streams(data: bytes) -> bool:
    """Whether a second stream follows the first, as in chained Ogg or concatenated MP3."""
    data = mpeg.strip_id3(data)
    if data[:4] != b"OggS":
        return mpeg.has_several_streams(data)
    firsts = [bool(flags & _FIRST) for _, flags in _pages(data)]
    return any(first and not before for before, first in itertools.pairwise(firsts))


def _chunks(data, position, layout, header) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, offset of the size field, size) of RIFF-like chunks, padded to even sizes."""
    for _ in range(_MAX_CHUNKS):
        (size,) = struct.unpack_from(layout, data, position + 4)
        yield data[position : position + 4], position + 4, size
        position += header + size + size % 2


def _wave(data, order) -> Extent | None:
    wide = None
    for name, position, size in _chunks(data, 12, order + "I", 8):
        if name == b"ds64":
            wide = position + 12
        if name != b"data":
            continue
        start = position + 4
        if wide is not None and size == 0xFFFFFFFF:
            (size,) = struct.unpack_from("<Q", data, wide)
            known = 0 < size < 1 << 62
            return Extent(start, size if known else None, wide, "<Q")
        # Programs that write to pipes state 0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF or close to it.
        known = 0 < size < 0x7FFF0000 or start + size <= len(data)
        if size == 0 and not _only_chunks(data, start, order):
            known = False
        return Extent(start, size if known else None, position, order + "I")
    return None


def _only_chunks(data, position, order) -> bool:
    """Whether only whole chunks follow `position`."""
    while position + 8 <= len(data):
        if not data[position : position + 4].decode("latin-1").isprintable():
            return False
        (size,) = struct.unpack_from(order + "I", data, position + 4)
        position += 8 + size + size % 2
    return len(data) <= position <= len(data) + 1


def _wave64(data) -> Extent | None:
    position = 40
    for _ in range(_MAX_CHUNKS):
        (size,) = struct.unpack_from("<Q", data, position + 16)
        if data[position : position + 16] == _W64_DATA:
            known = 24 < size < 1 << 62
            return Extent(position + 24, size - 24 if known else None, position + 16, "<Q", 24)
        if size < 24:
            return None
        position += size + -size % 8
    return None


def _aiff(data) -> Extent | None:
    for name, position, size in _chunks(data, 12, ">I", 8):
        if name == b"SSND":
            known = 8 < size < 0x7F000000
            return Extent(position + 12, size - 8 if known else None, position, ">I", 8)
    return None


def _au(data, order) -> Extent:
    start, size = struct.unpack_from(order + "2I", data, 4)
    known = 0 < size < 0xFFFFFFFF or start >= len(data)
    return Extent(start, size if known else None, 8, order + "I")


def _caf(data) -> Extent | None:
    position = 8
    for _ in range(_MAX_CHUNKS):
        (size,) = struct.unpack_from(">q", data, position + 4)
        if data[position : position + 4] == b"data":
            known = 4 < size < 1 << 62
            return Extent(position + 16, size - 4 if known else None, position + 4, ">q", 4)
        if size < 0:
            return None
        position += 12 + size
    return None


def _pages(data) -> Iterator[tuple[int, int]]:
    """Yields (end, flags) of each Ogg page."""
    position = 0
    while data[position : position + 4] == b"OggS":
        if position + 27 > len(data):
            yield position + 27, 0
            return
        count = data[position + 26]
        table = data[position + 27 : position + 27 + count]
        stop = position + 27 + count + sum(table)
        if len(table) < count:
            stop = len(data) + 1
        yield stop, data[position + 5]
        position = stop
