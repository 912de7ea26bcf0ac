"""What a caption controls, measured by signal processing alone: pitch and the number of sounds."""

from __future__ import annotations

import numpy as np

_HOP = 160  # samples, of the envelope


def pitch(wave: np.ndarray, sample_rate: int, *, low: float = 70.0, high: float = 3200.0) -> float:
    """The fundamental of a steady sound in Hz; nan for silence. wave: [samples].

    YIN (de Cheveigne and Kawahara, 2002) by frames of 64 ms; the median over the louder half of
    those within 20 dB of the loudest.
    """
    import librosa

    frame = int(0.064 * sample_rate)
    if len(wave) < frame or not np.any(wave):
        return float("nan")
    found = librosa.yin(
        np.asarray(wave, np.float64),
        fmin=low,
        fmax=high,
        sr=sample_rate,
        frame_length=frame,
        hop_length=_HOP,
    )
    loud = librosa.feature.rms(y=wave, frame_length=frame, hop_length=_HOP)[0][: len(found)]
    found = found[: len(loud)]
    kept = (loud > 0.1 * loud.max()) & (loud >= np.median(loud[loud > 0.1 * loud.max()]))
    return float(np.median(found[kept]))


def semitones(pitch: float, target: float) -> float:
    """How far a pitch lies above a target."""
    return float(12 * np.log2(pitch / target))


def envelope(wave: np.ndarray, hop: int) -> np.ndarray:
    """RMS of pieces of 2 `hop` samples, `hop` apart: [samples // hop - 1], of short clips empty."""
    pieces = max(0, len(wave) // hop - 1)
    power = np.square(np.asarray(wave, np.float64))[: (pieces + 1) * hop]
    if not pieces:
        return np.zeros(0)
    power = power.reshape(-1, hop).mean(1)
    return np.sqrt((power[:-1] + power[1:]) / 2)


def count(wave: np.ndarray, sample_rate: int, *, gap: float = 0.1, depth: float = 0.25) -> int:
    """How many separate sounds there are. wave: [samples].

    The envelope is the RMS of 20 ms, spread by 50 ms; a sound begins where it rises above `depth`
    of its maximum after `gap` seconds below half of that.
    """
    from scipy.ndimage import maximum_filter1d

    loud = envelope(wave, _HOP)
    if not loud.any():
        return 0
    loud = maximum_filter1d(loud, 5)
    high, low = depth * loud.max(), depth / 2 * loud.max()
    quiet, needed, found = 1 << 30, int(gap * sample_rate / _HOP), 0
    for value in loud:
        if value >= high:
            found += quiet >= needed
            quiet = 0
        elif value < low:
            quiet += 1
    return found
