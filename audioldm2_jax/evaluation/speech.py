"""How far speech keeps to a rendering of the same words: its length, rhythm and spectrum.

Signal processing alone; clips are [samples] of one rate, spoken once over silence.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.evaluation.attributes import envelope

_STEP = 0.02  # seconds between values of an envelope
_FLOOR = 1e-2  # of the loudest: what is less is silence


def span(wave: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """(onset, end) of what is said, in seconds: where the envelope exceeds a hundredth of its peak.

    (nan, nan) for silence, and for less than 40 ms.
    """
    loud = envelope(wave, int(_STEP * sample_rate))
    if not loud.any():
        return float("nan"), float("nan")
    heard = np.flatnonzero(loud > _FLOOR * loud.max())
    return heard[0] * _STEP, (heard[-1] + 2) * _STEP


def rhythm(wave: np.ndarray, reference: np.ndarray, sample_rate: int) -> float:
    """Correlation of the envelopes in dB over the reference's length, both from their onsets on.

    1 for the same rhythm, about 0 for unrelated ones; nan if either is silent.
    """
    curves, lengths = [], []
    for clip in (wave, reference):
        onset, end = span(clip, sample_rate)
        if np.isnan(onset):
            return float("nan")
        loud = envelope(clip, int(_STEP * sample_rate))
        level = 20 * np.log10(np.maximum(loud / loud.max(), _FLOOR))
        curves.append(level[round(onset / _STEP) :])
        lengths.append(round((end - onset) / _STEP) - 1)
    length, quiet = lengths[1], 20 * np.log10(_FLOOR)
    x, y = (c[:length] for c in curves)
    x = np.pad(x, (0, length - len(x)), constant_values=quiet)
    if not (x.std() and y.std()):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def mel_distance(mel: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of log-mels [T, F] per bin along the path that aligns them best (DTW)."""
    import librosa

    cost, path = librosa.sequence.dtw(mel.T, reference.T, metric="cityblock")
    return float(cost[-1, -1] / len(path) / mel.shape[1])
