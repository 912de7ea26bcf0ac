"""CRC-32C (Castagnoli), by which TensorFlow's files guard their content."""

from __future__ import annotations

import functools

import numpy as np

_LANES = 1024  # pieces of the data whose registers advance together


@functools.cache
def _table() -> np.ndarray:
    """What each byte adds to the register: [256]."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = (values >> 1) ^ np.where(values & 1, np.uint32(0x82F63B78), np.uint32(0))
    return values


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of `data`.

    The register is linear over GF(2), so that those of pieces can be computed apart and combined.
    """
    table, octets = _table(), np.frombuffer(data, np.uint8)
    length = len(octets) // _LANES
    register = np.uint32(0xFFFFFFFF)
    if length:
        pieces = np.ascontiguousarray(octets[: length * _LANES].reshape(_LANES, length).T)
        registers = np.zeros(_LANES, np.uint32)
        # What `length` zeros make of each byte of a register: [4 bytes x 256 values].
        shift = (np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, np.uint32)[:, None]).ravel()
        for piece in pieces:
            registers = table[(registers ^ piece) & 255] ^ (registers >> 8)
            shift = table[shift & 255] ^ (shift >> 8)
        for value in registers:
            parts = [shift[256 * i + (int(register) >> 8 * i & 255)] for i in range(4)]
            register = np.bitwise_xor.reduce(parts) ^ value
    value = int(register)
    for octet in octets[length * _LANES :].tolist():
        value = int(table[(value ^ octet) & 255]) ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum as TensorFlow stores it, rotated and shifted."""
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
