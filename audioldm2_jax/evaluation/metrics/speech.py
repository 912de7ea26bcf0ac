"""Speech against a reference of the same words: length, rhythm and spectrum.

Signal processing alone. Clips are [samples] of one rate, spoken once over silence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audioldm2_jax.evaluation.metrics.attributes import envelope

_STEP = 0.02  # seconds between values of an envelope
_FLOOR = 1e-2  # of the loudest: what is less is silence


def span(wave: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """(onset, end) in seconds of where the envelope exceeds a hundredth of its peak.

    (nan, nan) for silence, and for less than 40 ms.
    """
    rms = envelope(wave, int(_STEP * sample_rate))
    if not rms.any():
        return float("nan"), float("nan")
    voiced = np.flatnonzero(rms > _FLOOR * rms.max())
    return voiced[0] * _STEP, (voiced[-1] + 2) * _STEP


def rhythm(wave: np.ndarray, reference: np.ndarray, sample_rate: int) -> float:
    """Correlation of the envelopes in dB over the reference's length, both from their onsets on.

    1 for the same rhythm, about 0 for unrelated ones; nan if either is silent.
    """
    curves, lengths = [], []
    for clip in (wave, reference):
        onset, end = span(clip, sample_rate)
        if np.isnan(onset):
            return float("nan")
        rms = envelope(clip, int(_STEP * sample_rate))
        level = 20 * np.log10(np.maximum(rms / rms.max(), _FLOOR))
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


def compare_speech(waves, references, sample_rate: int, mel: Callable) -> dict[str, float]:
    """Means over pairs of clips [N, samples]. mel: [N, samples] -> log mels [N, T, F].

    A silent clip counts as of length 0 in the correlation of lengths and as of unrelated rhythm.
    """
    spans = np.array([[span(w, sample_rate) for w in clips] for clips in (waves, references)])
    lengths = spans[..., 1] - spans[..., 0]
    rhythms = [rhythm(a, b, sample_rate) for a, b in zip(waves, references)]
    mels = zip(mel(waves), mel(references))
    return {
        "seconds off": float(np.nanmean(np.abs(lengths[0] - lengths[1]))),
        "correlation of lengths": float(np.corrcoef(np.nan_to_num(lengths))[0, 1]),
        "correlation of envelopes": float(np.mean(np.nan_to_num(rhythms))),
        "mel distance": float(np.mean([mel_distance(a, b) for a, b in mels])),
    }
