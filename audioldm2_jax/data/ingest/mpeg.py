"""MP3 whose length nothing states: frames are counted, and a header states their number.

libsndfile guesses such a file's length from the bitrate of its first frame, and stops there.
Layouts: ISO/IEC 11172-3 and 13818-3 (frames), ID3v2.4 (tags), Xing's and Fraunhofer's first frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# kbit/s of layer III by the header's index, for MPEG-1 and for MPEG-2 and 2.5.
_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44100, 48000, 32000)
_SAME = 0xFFFE0C00  # bits of a header that all frames of a stream share: version, layer, rate
_VBRI = 36  # where Fraunhofer's description stands in a frame


def strip_id3(data: bytes) -> bytes:
    """The file without the ID3v2 tags before its sound."""
    start = 0
    while data[start : start + 3] == b"ID3" and (size := _tag(data, start)):
        start += size
    return data[start:] if start else data


def with_frame_count(data: bytes) -> bytes:
    """An MP3 with a first frame that states the number of its frames; other data as it is."""
    size = _frame(data, 0)
    if not size or _stated(data[:size]) is not None:
        return data
    count = _fraunhofer(data[:size])
    if count is not None or _described(data[:size]):
        data = data[size:]
    if count is None:
        count = sum(1 for _ in _frames(data))
    return _description(data, count) + data if count else data


def lacks_frame_count(data: bytes) -> bool:
    """Whether an MP3 states no number of frames."""
    size = _frame(data, 0)
    first = data[:size]
    return bool(size) and _stated(first) is None and _fraunhofer(first) is None


def has_several_streams(data: bytes) -> bool:
    """Whether an MP3 has more frames than its first one states, or describes itself again."""
    size = _frame(data, 0)
    if not size:
        return False
    described = [_described(data[place : place + size]) for place, size in _frames(data)]
    stated = _stated(data[:size]) or _fraunhofer(data[:size]) or len(described)
    return sum(described) > 1 or len(described) > 1.01 * stated + 8


def _tag(data, start) -> int:
    """Bytes of the ID3v2 tag there, 0 if it is not whole."""
    head = data[start : start + 10]
    if len(head) < 10 or max(head[6:]) > 127:
        return 0
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte
    size += 20 if head[5] & 16 else 10  # a footer repeats the head
    return size if start + size <= len(data) else 0


def _frame(data, place) -> int:
    """Bytes of the frame of layer III whose header stands there, 0 if none does."""
    if place + 4 > len(data):
        return 0
    (head,) = struct.unpack_from(">I", data, place)
    version, bitrate, rate = head >> 19 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1:
        return 0
    if bitrate in (0, 15) or rate == 3:
        return 0
    older = version != 3
    hertz = _RATES[rate] >> (0, 1, 2)[(3, 2, 0).index(version)]
    return (72 if older else 144) * 1000 * _BITRATES[older][bitrate] // hertz + (head >> 9 & 1)


def _frames(data) -> Iterator[tuple[int, int]]:
    """(place, bytes) of each whole frame; what lies between them is passed over."""
    kind, place = None, 0
    while 0 <= place < len(data):
        size = _frame(data, place)
        head = int.from_bytes(data[place : place + 4], "big") & _SAME
        kind = head if kind is None else kind
        if size and head == kind and place + size <= len(data):
            yield place, size
            place += size
        elif data[place : place + 3] == b"ID3" and (tag := _tag(data, place)):
            place += tag
        else:
            place = data.find(b"\xff", place + 1)


def _side(head: bytes) -> int:
    """Where Xing's description stands in a frame without a checksum."""
    mono = head[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if head[1] & 8 else (9 if mono else 17))


def _described(frame) -> bool:
    return frame[_side(frame) :][:4] in (b"Xing", b"Info")


def _stated(frame) -> int | None:
    """The number of frames that Xing's description states, None without one."""
    place = _side(frame)
    if not _described(frame) or len(frame) < place + 12 or not frame[place + 7] & 1:
        return None
    return int.from_bytes(frame[place + 8 : place + 12], "big") or None


def _fraunhofer(frame) -> int | None:
    """The number of frames that Fraunhofer's description states, None without one."""
    if frame[_VBRI : _VBRI + 4] != b"VBRI" or len(frame) < _VBRI + 18:
        return None
    return int.from_bytes(frame[_VBRI + 14 : _VBRI + 18], "big") or None


def _description(data, count: int) -> bytes:
    """A silent frame that states `count`, of the stream's kind."""
    head = bytearray(data[:4])
    head[1] |= 1  # without a checksum
    place = _side(head)
    for index in range(1, 15):
        head[2] = index << 4 | head[2] & 0x0C
        if (size := _frame(head, 0)) >= place + 16:
            break
    stated = b"Xing" + struct.pack(">3I", 3, count, min(len(data) + size, 0xFFFFFFFF))
    return (bytes(head) + bytes(place - 4) + stated).ljust(size, b"\0")
