"""How far a codec's waveform is from its source: SI-SDR, and the distance of log-mel spectrograms.

Clips are [samples] or [samples, channels], both of one shape and rate; channels are averaged over.
"""

from __future__ import annotations

import math

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel_scale import slaney_filters

_BANDS, _FLOOR = 80, 1e-5
_FRAMES = 4096  # computed at once, which bounds the memory of long clips


def si_sdr(reference, estimate) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv 1811.02508), of signals without mean.

    Infinite for equal clips, nan where the reference is silent. Raises InputError for unlike clips.
    """
    values = []
    for x, y in _channels(reference, estimate):
        x, y = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
        energy = np.dot(x, x)
        if not energy:
            return math.nan
        target = np.dot(x, y) / energy * x
        noise = np.square(y - target).sum()
        signal = np.square(target).sum()
        values.append(10 * np.log10(signal / noise) if signal and noise else math.inf)
        if not signal:
            values[-1] = -math.inf
    return float(np.mean(values))


def log_mel_distance(reference, estimate, sample_rate: int) -> float:
    """Mean absolute difference of log-mel spectrograms in dB.

    80 of Slaney's bands up to half the rate, windows of 46 ms every 10 ms, magnitudes of at least
    1e-5. Raises InputError for unlike clips.
    """
    size = 2 ** round(math.log2(0.046 * sample_rate))
    hop = max(1, sample_rate // 100)
    filters = slaney_filters(sample_rate, size, _BANDS, 0.0, sample_rate / 2).T
    totals = []
    for x, y in _channels(reference, estimate):
        total = count = 0
        frames = 1 + len(x) // hop
        for first in range(0, frames, _FRAMES):
            last = min(first + _FRAMES, frames)
            mels = [_log_mel(wave, first, last, size, hop, filters) for wave in (x, y)]
            total += np.abs(mels[0] - mels[1]).sum()
            count += mels[0].size
        totals.append(total / count)
    return float(np.mean(totals))


def _log_mel(wave, first: int, last: int, size: int, hop: int, filters) -> np.ndarray:
    """dB of the mel magnitudes of frames first..last, centred: [T, F]."""
    begin, end = first * hop - size // 2, (last - 1) * hop + size // 2
    part = np.pad(wave[max(0, begin) : end], (max(0, -begin), max(0, end - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(part, size)[::hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    magnitudes = np.abs(np.fft.rfft(frames * window.astype(np.float32)))
    return 20 * np.log10(np.maximum(magnitudes @ filters, _FLOOR))


def _channels(reference, estimate):
    """Pairs of channels [samples] of two clips. Raises InputError for unlike clips."""
    reference, estimate = (np.asarray(x, np.float32) for x in (reference, estimate))
    if reference.shape != estimate.shape or reference.ndim not in (1, 2) or not reference.size:
        shapes = f"{reference.shape} and {estimate.shape}"
        raise InputError(f"clips of shapes {shapes}: two of one shape are needed")
    if reference.ndim == 1:
        return [(reference, estimate)]
    return list(zip(reference.T, estimate.T))
