"""Writes TensorFlow's tensor bundles, as its documentation describes them."""

import numpy as np

_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def _bits(value):
    """A byte through the polynomial."""
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = tuple(map(_bits, range(256)))


def crc32c(data):
    """The checksum byte by byte, from its polynomial."""
    register = 0xFFFFFFFF
    for octet in data:
        register = _TABLE[(register ^ octet) & 255] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def masked(data):
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """One field of a message: an integer or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries):
    """A block of sorted (key, value), keys shared with the one before; one restart."""
    out, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        out += (
            varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        )
        before = key
    out += (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    return out + b"\0" + masked(out + b"\0").to_bytes(4, "little")


def table(entries, blocks=2):
    """A LevelDB table of sorted (key, value)."""
    out, index = b"", []
    size = -(-len(entries) // blocks)
    for i in range(0, len(entries), size):
        content = block(entries[i : i + size])
        index.append(
            (
                entries[min(i + size, len(entries)) - 1][0],
                varint(len(out)) + varint(len(content) - 5),
            )
        )
        out += content
    handles = b""
    for content in (block([]), block(index)):
        handles += varint(len(out)) + varint(len(content) - 5)
        out += content
    return out + handles.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def entry(array, offset, checksum=None):
    """A BundleEntryProto."""
    data, array = np.ascontiguousarray(array).tobytes(), np.asarray(array)
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    value = masked(data) if checksum is None else checksum
    content = field(1, _TYPES[array.dtype.name]) + field(2, shape)
    content += field(4, offset) + field(5, len(data))
    return content + bytes([6 << 3 | 5]) + value.to_bytes(4, "little")


def bundle(state, header=None):
    """(index, data) of {name with dots: array}."""
    data, entries = b"", {b"": field(1, 1) + field(3, field(1, 1)) if header is None else header}
    for name, array in state.items():
        entries[name.replace(".", "/").encode()] = entry(array, len(data))
        data += np.ascontiguousarray(array).tobytes()
    return table(sorted(entries.items())), data


def write_bundle(path, state):
    """Writes PATH (.index) and the data beside it."""
    index, data = bundle(state)
    path.write_bytes(index)
    path.with_name(path.name.removesuffix(".index") + ".data-00000-of-00001").write_bytes(data)
