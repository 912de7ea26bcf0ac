"""Counts the frames of MP3 files that do not state their length, and adds a header that does.

libsndfile estimates such a file's length from the bitrate of the first frame, and stops there.
Layouts: ISO/IEC 11172-3 and 13818-3 (frames), ID3v2.4 (tags), the Xing and VBRI headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# kbit/s of layer III by the header's index: MPEG-1, then MPEG-2 and 2.5.
_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44100, 48000, 32000)
_STREAM_BITS = 0xFFFE0C00  # header bits that a stream's frames share: version, layer, rate
_VBRI = 36  # offset of the VBRI header in a frame


def strip_id3(data: bytes) -> bytes:
    """Removes the ID3v2 tags before the audio."""
    start = 0
    while data[start : start + 3] == b"ID3" and (size := _tag(data, start)):
        start += size
    return data[start:] if start else data


def with_frame_count(data: bytes) -> bytes:
    """Prepends a Xing header with the number of frames to an MP3 without one.

    Returns other data unchanged.
    """
    size = _frame(data, 0)
    if not size or _xing_frames(data[:size]) is not None:
        return data
    count = _vbri_frames(data[:size])
    if count is not None or _has_xing(data[:size]):
        data = data[size:]
    if count is None:
        count = sum(1 for _ in _frames(data))
    return _xing_frame(data, count) + data if count else data


def lacks_frame_count(data: bytes) -> bool:
    """Whether an MP3 does not state its number of frames."""
    size = _frame(data, 0)
    first = data[:size]
    return bool(size) and _xing_frames(first) is None and _vbri_frames(first) is None


def has_several_streams(data: bytes) -> bool:
    """Whether an MP3 has more frames than it states, or more than one header frame."""
    size = _frame(data, 0)
    if not size:
        return False
    described = [_has_xing(data[position : position + size]) for position, size in _frames(data)]
    stated = _xing_frames(data[:size]) or _vbri_frames(data[:size]) or len(described)
    return sum(described) > 1 or len(described) > 1.01 * stated + 8


def _tag(data, start) -> int:
    """Bytes of the ID3v2 tag at `start`, 0 if it is incomplete."""
    head = data[start : start + 10]
    if len(head) < 10 or max(head[6:]) > 127:
        return 0
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte
    size += 20 if head[5] & 16 else 10  # a footer repeats the head
    return size if start + size <= len(data) else 0


def _frame(data, position) -> int:
    """Bytes of the layer III frame at `position`, 0 if there is none."""
    if position + 4 > len(data):
        return 0
    (head,) = struct.unpack_from(">I", data, position)
    version, bitrate, rate = head >> 19 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1:
        return 0
    if bitrate in (0, 15) or rate == 3:
        return 0
    older = version != 3
    hertz = _RATES[rate] >> (0, 1, 2)[(3, 2, 0).index(version)]
    return (72 if older else 144) * 1000 * _BITRATES[older][bitrate] // hertz + (head >> 9 & 1)


def _frames(data) -> Iterator[tuple[int, int]]:
    """Yields (position, bytes) of each whole frame, skipping other data."""
    kind, position = None, 0
    while 0 <= position < len(data):
        size = _frame(data, position)
        head = int.from_bytes(data[position : position + 4], "big") & _STREAM_BITS
        kind = head if kind is None else kind
        if size and head == kind and position + size <= len(data):
            yield position, size
            position += size
        elif data[position : position + 3] == b"ID3" and (tag := _tag(data, position)):
            position += tag
        else:
            position = data.find(b"\xff", position + 1)


def _xing_offset(head: bytes) -> int:
    """Offset of the Xing header in a frame without a checksum."""
    mono = head[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if head[1] & 8 else (9 if mono else 17))


def _has_xing(frame) -> bool:
    return frame[_xing_offset(frame) :][:4] in (b"Xing", b"Info")


def _xing_frames(frame) -> int | None:
    """The number of frames that a Xing header states, None without one."""
    position = _xing_offset(frame)
    if not _has_xing(frame) or len(frame) < position + 12 or not frame[position + 7] & 1:
        return None
    return int.from_bytes(frame[position + 8 : position + 12], "big") or None


def _vbri_frames(frame) -> int | None:
    """The number of frames that a VBRI header states, None without one."""
    if frame[_VBRI : _VBRI + 4] != b"VBRI" or len(frame) < _VBRI + 18:
        return None
    return int.from_bytes(frame[_VBRI + 14 : _VBRI + 18], "big") or None


def _xing_frame(data, count: int) -> bytes:
    """A silent frame of the stream's kind with a Xing header that states `count` frames."""
    head = bytearray(data[:4])
    head[1] |= 1  # without a checksum
    position = _xing_offset(head)
    for index in range(1, 15):
        head[2] = index << 4 | head[2] & 0x0C
        if (size := _frame(head, 0)) >= position + 16:
            break
    stated = b"Xing" + struct.pack(">3I", 3, count, min(len(data) + size, 0xFFFFFFFF))
    return (bytes(head) + bytes(position - 4) + stated).ljust(size, b"\0")
