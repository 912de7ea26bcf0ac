"""Slaney's mel scale and its triangular filters, as librosa defines them, in NumPy alone."""

from __future__ import annotations

import numpy as np

_LINEAR = 200.0 / 3  # Hz per mel below the break
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR
_LOG_STEP = np.log(6.4) / 27.0  # per mel above the break


def hz_to_mel(hertz) -> np.ndarray:
    """Frequencies in Hz -> mels."""
    hertz = np.asarray(hertz, np.float64)
    log = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hertz >= _BREAK_HZ, log, hertz / _LINEAR)


def mel_to_hz(mels) -> np.ndarray:
    """Mels -> frequencies in Hz."""
    mels = np.asarray(mels, np.float64)
    log = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels >= _BREAK_MEL, log, mels * _LINEAR)


def slaney_filters(sample_rate: int, fft: int, mels: int, low: float, high: float) -> np.ndarray:
    """Filters of equal energy between `low` and `high` Hz: float32 [mels, 1 + fft // 2]."""
    bins = np.fft.rfftfreq(fft, 1.0 / sample_rate)
    edges = mel_to_hz(np.linspace(hz_to_mel(low), hz_to_mel(high), mels + 2))
    widths = np.diff(edges)
    ramps = edges[:, None] - bins
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters
