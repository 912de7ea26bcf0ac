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
_LARGEST = 1 << 23  # values of a filter bank: 44101 and 16000 Hz, say, share no factor
_CHUNK = 1 << 21  # values that are filtered at once


@dataclass(frozen=True)
class Sinc:
    """A windowed-sinc resampler.

    zeros: zero crossings of the sinc within the window, on each side. rolloff: the sinc's cutoff as
    a share of the lower rate's half. beta: of a Kaiser window; None for a Hann window. table: steps
    for each zero of a table that the filters are read from; 0 for exact ones. normalised: each
    filter sums to 1. replicate: the ends are continued by their outermost sample, else by zeros.
    ceil: whether the number of samples is rounded up.
    """

    zeros: float
    rolloff: float
    beta: float | None = None
    table: int = 0
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
        bank, width, step = filter_bank(self, down, up)
        buffer, samples, written, last = np.zeros(0, np.float32), 0, 0, np.float32(0)
        for block in _not_empty(blocks):
            if not samples:
                buffer = np.full(width, block[0] * self.replicate, np.float32)
            samples, last = samples + len(block), block[-1]
            out, buffer = _filter(np.concatenate([buffer, block]), bank, step)
            written += len(out)
            yield out
        if samples:
            tail = np.full(width + step, last * self.replicate, np.float32)
            out, _ = _filter(np.concatenate([buffer, tail]), bank, step)
            length = -(-up * samples // down) if self.ceil else up * samples // down
            yield out[: length - written]


@functools.lru_cache(8)
def filter_bank(rule: Sinc, down: int, up: int) -> tuple[np.ndarray, int, int]:
    """Filters of coprime rates for several steps of `down` input samples at once.

    Returns filters [taps, outputs], the inputs before the first output, and the inputs of all these
    steps. Raises InputError for rates whose bank is too large.
    """
    cutoff = min(down, up) * rule.rolloff
    width = math.ceil(rule.zeros * down / cutoff)
    if (size := (2 * width + down) * up) > _LARGEST:
        raise InputError(
            f"resampling {down} to {up} (without common factors) needs {size} filter values; "
            "convert the files to a usual rate first"
        )
    # Distance of each input sample from each output sample, in 1 / up input samples.
    distances = np.arange(-width, width + down)[:, None] * up - np.arange(up) * down
    times = _zeros(distances, rule, down, up)
    bank = np.sinc(times) * _window(rule, np.clip(times / rule.zeros, -1, 1)) * (cutoff / down)
    bank[np.abs(times) > rule.zeros] = 0
    if rule.normalised:
        bank /= bank.sum(0)
    wide, step = _repeated(bank.astype(np.float32), down)
    return wide, width, step


def _zeros(distances: np.ndarray, rule: Sinc, down: int, up: int) -> np.ndarray:
    """Distances in zero crossings of the sinc."""
    scale = min(1.0, up / down)
    if not rule.table:
        return distances * (scale * rule.rolloff / up)
    # A whole input sample is a whole number of the table's steps; only the rest is exact.
    size = np.abs(distances)
    whole = np.where(distances <= 0, size // up, -(-size // up) - 1)
    step = int(scale * rule.table) / rule.table
    return rule.rolloff * (whole * step + scale * (size / up - whole))


def _window(rule: Sinc, times: np.ndarray) -> np.ndarray:
    """The window at times in [-1, 1]."""
    if rule.beta is None:
        return np.cos(np.pi / 2 * times) ** 2
    return np.i0(rule.beta * np.sqrt(1 - times**2)) / np.i0(rule.beta)


def _repeated(bank: np.ndarray, down: int) -> tuple[np.ndarray, int]:
    """Filters [taps, up] of one step for several, and the input samples of all of them.

    One product of matrices then gives many outputs of the same inputs: ten times the speed at rates
    such as 48 and 16 kHz, which have few filters.
    """
    taps, up = bank.shape
    times = max(1, taps // down)
    wide = np.zeros((taps + (times - 1) * down, times * up), np.float32)
    for i in range(times):
        wide[i * down : i * down + taps, i * up : (i + 1) * up] = bank
    return wide, times * down


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
# resampy 0.4's kaiser_best: its window ends at 50 zeros of a sinc without rolloff.
resampy = Sinc(50 * 0.91734737, 0.91734737, beta=12.9846, table=8192, ceil=False)
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
        present = (block for block in (first, second) if block is not None)
        yield from (soxr_hq(block, source, target) for block in (*present, *blocks))
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
    """TANGO's reader for FAD: 32 kHz are decimated; others pass resampy (0.4.2, as it pins)."""
    if (source, target) == (32000, 16000):
        return decimate(blocks, source, target)
    return resampy(blocks, source, target)


# By the names of `rules.RESAMPLERS`: (blocks, source Hz, target Hz) -> blocks.
RESAMPLERS: dict[str, Callable[[Blocks, int, int], Iterator[np.ndarray]]] = {
    "sinc_hann": sinc_hann,
    "sinc_kaiser": sinc_kaiser,
    "soxr_hq": soxr,
    "julius": julius,
    "resampy": resampy,
    "decimate": decimate,
    "tango": tango,
    "tango_fad": tango_fad,
}
