"""Resamplers exactly as the toolkits of this field have them, in NumPy, block by block.

A figure of FD changes with the resampler alone, so a protocol names it. The windowed-sinc ones are
polyphase filters: with rates p and q without a common factor, q filters serve all output samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.audio import resample as soxr_hq
from audioldm2_jax.errors import InputError

Blocks = Iterable[np.ndarray]  # float32 [samples], one after another
_LARGEST = 1 << 24  # values of a filter bank: 44101 and 16000 Hz, say, share no factor
_CHUNK = 1 << 21  # values that are filtered at once


@dataclass(frozen=True)
class Sinc:
    """A windowed-sinc resampler.

    zeros: the sinc's zero crossings on each side. rolloff: its cutoff as a share of the lower
    rate's half. beta: of a Kaiser window; None for a Hann window. normalised: each filter sums to
    1. replicate: the ends are continued by their outermost sample, else by zeros. ceil: whether
    the number of samples is rounded up.
    """

    zeros: int
    rolloff: float
    beta: float | None = None
    normalised: bool = False
    replicate: bool = False
    ceil: bool = True

    def __call__(self, blocks: Blocks, source: int, target: int) -> Iterator[np.ndarray]:
        """Yields blocks at `target` Hz of blocks at `source` Hz; their sizes do not matter.

        Raises InputError for rates that need too large a filter bank.
        """
        factor = math.gcd(source, target)
        down, up = source // factor, target // factor
        if down == up:
            yield from blocks
            return
        bank, width = filter_bank(self, down, up)
        buffer, samples, written, last = np.zeros(0, np.float32), 0, 0, np.float32(0)
        for block in _not_empty(blocks):
            if not samples:
                buffer = np.full(width, block[0] * self.replicate, np.float32)
            samples, last = samples + len(block), block[-1]
            out, buffer = _filter(np.concatenate([buffer, block]), bank, down)
            written += len(out)
            yield out
        if samples:
            tail = np.full(width + down, last * self.replicate, np.float32)
            out, _ = _filter(np.concatenate([buffer, tail]), bank, down)
            length = -(-up * samples // down) if self.ceil else up * samples // down
            yield out[: length - written]


@functools.lru_cache(16)
def filter_bank(rule: Sinc, down: int, up: int) -> tuple[np.ndarray, int]:
    """The filters [taps, up] of coprime rates, and the samples before the first one's centre.

    Raises InputError for rates whose bank is too large.
    """
    cutoff = min(down, up) * rule.rolloff
    width = math.ceil(rule.zeros * down / cutoff)
    if (size := (2 * width + down) * up) > _LARGEST:
        raise InputError(
            f"resampling {down} to {up} (without common factors) needs {size} filter values; "
            "convert the files to a usual rate first"
        )
    times = (np.arange(-width, width + down) / down)[:, None] - np.arange(up) / up
    times = np.clip(times * cutoff, -rule.zeros, rule.zeros)
    bank = np.sinc(times) * _window(rule, times) * (cutoff / down)
    if rule.normalised:
        bank /= bank.sum(0)
    return np.ascontiguousarray(bank, np.float32), width


def _window(rule: Sinc, times: np.ndarray) -> np.ndarray:
    if rule.beta is None:
        return np.cos(np.pi / 2 * times / rule.zeros) ** 2
    return np.i0(rule.beta * np.sqrt(1 - (times / rule.zeros) ** 2)) / np.i0(rule.beta)


def _filter(buffer: np.ndarray, bank: np.ndarray, down: int) -> tuple[np.ndarray, np.ndarray]:
    """All output that a buffer suffices for, and the rest of the buffer."""
    taps = len(bank)
    count = max(0, (len(buffer) - taps) // down + 1)
    if not count:
        return np.zeros(0, np.float32), buffer
    frames = np.lib.stride_tricks.sliding_window_view(buffer, taps)[::down]
    step = max(1, _CHUNK // taps)
    parts = [frames[i : i + step] @ bank for i in range(0, count, step)]
    return np.concatenate(parts).reshape(-1), buffer[count * down :]


def _not_empty(blocks: Blocks) -> Iterator[np.ndarray]:
    return (block for block in blocks if len(block))


# torchaudio.functional.resample with its defaults.
sinc_hann = Sinc(6, 0.99)
# torchaudio with the values by which fadtk and kadtk follow resampy's kaiser_best.
sinc_kaiser = Sinc(64, 0.9475937167399596, beta=14.769656459379492)
# julius.resample_frac with its defaults.
julius = Sinc(24, 0.945, normalised=True, replicate=True, ceil=False)


def decimate(blocks: Blocks, source: int, target: int) -> Iterator[np.ndarray]:
    """Each k-th sample, without a low-pass filter, so that it aliases.

    Raises InputError for rates without a whole ratio.
    """
    if source % target:
        raise InputError(f"decimation from {source} to {target} Hz: no whole ratio")
    factor, start = source // target, 0
    for block in blocks:
        yield block[start::factor]
        start = (start - len(block)) % factor


def soxr(blocks: Blocks, source: int, target: int) -> Iterator[np.ndarray]:
    """soxr in high quality, as librosa has it."""
    import soxr

    blocks = _not_empty(blocks)
    first, second = next(blocks, None), next(blocks, None)
    if source == target or second is None:
        given = (block for block in (first, second) if block is not None)
        yield from (soxr_hq(block, source, target) for block in (*given, *blocks))
        return
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in (first, second):
        yield stream.resample_chunk(block)
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def tango(blocks: Blocks, source: int, target: int) -> Iterator[np.ndarray]:
    """TANGO's reader for FD, KL and IS, with its slip.

    48 kHz become 16 kHz by decimation. 32 kHz are decimated too, and then resampled as if they
    still had 32 kHz: the result has half the samples that it should have.
    """
    if (source, target) == (48000, 16000):
        return decimate(blocks, source, target)
    if (source, target) == (32000, 16000):
        blocks = decimate(blocks, source, target)
    return sinc_hann(blocks, source, target)


def tango_fad(blocks: Blocks, source: int, target: int) -> Iterator[np.ndarray]:
    """TANGO's reader for FAD: 32 kHz are decimated; others pass resampy's kaiser_best.

    torchaudio's form of that filter stands for it.
    """
    if (source, target) == (32000, 16000):
        return decimate(blocks, source, target)
    return sinc_kaiser(blocks, source, target)


# By the names of `rules.RESAMPLERS`: (blocks, source Hz, target Hz) -> blocks.
RESAMPLERS: dict[str, Callable[[Blocks, int, int], Iterator[np.ndarray]]] = {
    "sinc_hann": sinc_hann,
    "sinc_kaiser": sinc_kaiser,
    "soxr_hq": soxr,
    "julius": julius,
    "decimate": decimate,
    "tango": tango,
    "tango_fad": tango_fad,
}


def resample(name: str, audio: np.ndarray, source: int, target: int) -> np.ndarray:
    """Resamples float32 [samples] from `source` to `target` Hz by a name of RESAMPLERS.

    Raises InputError for rates that the resampler does not take.
    """
    audio = np.asarray(audio, np.float32)
    blocks = list(RESAMPLERS[name]([audio], source, target))
    return np.concatenate(blocks) if blocks else audio[:0]
