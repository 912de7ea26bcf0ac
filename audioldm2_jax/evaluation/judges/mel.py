"""The mel spectrogram that the judges' networks were trained on (librosa's, of power)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.features.mel_scale import slaney_filters


def power_mel(waveform: np.ndarray, sample_rate: int, fft: int, hop: int, mels: int) -> np.ndarray:
    """[samples] -> float32 [T, mels]; windows of periodic Hann are centred, over zeros at the ends.

    T is 1 + (samples + 2 (fft // 2) - fft) // hop.
    """
    padded = np.pad(waveform.astype(np.float32), fft // 2)
    if len(padded) < fft:
        return np.zeros((0, mels), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft)[::hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
    power = np.square(np.abs(np.fft.rfft(frames * window.astype(np.float32))))
    return (power @ slaney_filters(sample_rate, fft, mels, 0, sample_rate / 2).T).astype(np.float32)
