"""Attributes that a caption names, by signal processing alone: pitch and number of sounds."""

from __future__ import annotations

from collections.abc import Sequence

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
    pitches = librosa.yin(
        np.asarray(wave, np.float64),
        fmin=low,
        fmax=high,
        sr=sample_rate,
        frame_length=frame,
        hop_length=_HOP,
    )
    rms = librosa.feature.rms(y=wave, frame_length=frame, hop_length=_HOP)[0][: len(pitches)]
    pitches = pitches[: len(rms)]
    steady = (rms > 0.1 * rms.max()) & (rms >= np.median(rms[rms > 0.1 * rms.max()]))
    return float(np.median(pitches[steady]))


def semitones(pitch: float, target: float) -> float:
    """How far a pitch lies above a target."""
    return float(12 * np.log2(pitch / target))


def envelope(wave: np.ndarray, hop: int) -> np.ndarray:
    """RMS of windows of 2 `hop` samples, `hop` apart: [samples // hop - 1], or empty."""
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

    rms = envelope(wave, _HOP)
    if not rms.any():
        return 0
    rms = maximum_filter1d(rms, 5)
    high, low = depth * rms.max(), depth / 2 * rms.max()
    silent, least_gap, onsets = 1 << 30, int(gap * sample_rate / _HOP), 0
    for value in rms:
        if value >= high:
            onsets += silent >= least_gap
            silent = 0
        elif value < low:
            silent += 1
    return onsets


def pitch_accuracy(waves, targets: Sequence[float], sample_rate: int) -> dict[str, float]:
    """Shares of clips within a semitone of their target in Hz: as it is, and in any octave."""
    errors = [semitones(pitch(w, sample_rate), target) for w, target in zip(waves, targets)]
    errors = np.nan_to_num(errors, nan=99.0)
    within_octave = np.abs(errors - 12 * np.round(errors / 12))
    return {
        "within a semitone": float(np.mean(np.abs(errors) < 1)),
        "or octaves": float(np.mean(within_octave < 1)),
    }


def count_accuracy(waves, targets: Sequence[int], sample_rate: int) -> float:
    """Share of clips with as many separate sounds as their target."""
    pairs = zip(waves, targets)
    return float(np.mean([count(wave, sample_rate) == target for wave, target in pairs]))
