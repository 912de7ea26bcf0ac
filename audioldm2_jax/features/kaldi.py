"""Kaldi's log filter banks, the input of AudioMAE and of w2v-BERT 2.0."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.features.stft import frames_of

# AudioMAE's statistics of AudioSet, by which its input is normalised.
FBANK_MEAN, FBANK_DEVIATION = -4.2677393, 4.5689974


@functools.cache
def kaldi_filters(
    bins: int, fft: int, sample_rate: int, low: float = 20.0, high: float | None = None
) -> np.ndarray:
    """Kaldi's filter bank, triangles in its mel scale: [fft / 2 + 1, bins]; the last row is 0.

    low, high: Hz; None is half the sample rate.
    """

    def mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)

    edges = np.linspace(mel(low), mel(high or sample_rate / 2), bins + 2)
    bins_mel = mel(np.arange(fft // 2) * sample_rate / fft)[:, None]
    rise = (bins_mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins_mel) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0.0, np.minimum(rise, fall))
    return np.pad(bank, ((0, 1), (0, 0))).astype(np.float32)


def log_filter_banks(audio, window, bins: int, floor: float) -> jax.Array:
    """Logarithms of Kaldi's filter banks of 16 kHz audio, power, at least `floor`.

    audio: [B, samples], window: [400] -> [B, T, bins]: 25 ms frames every 10 ms, their offset
    removed, pre-emphasis 0.97.
    """
    size, hop, fft = len(window), 160, 512
    count = max(0, (audio.shape[1] - size) // hop + 1)
    frames = frames_of(audio, size, hop, count)
    frames = frames - frames.mean(-1, keepdims=True)
    previous = jnp.concatenate([frames[..., :1], frames[..., :-1]], -1)
    power = jnp.square(jnp.abs(jnp.fft.rfft((frames - 0.97 * previous) * window, fft)))
    bank = kaldi_filters(bins, fft, 16000)
    mel = jnp.einsum("btk,kf->btf", power, bank, precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(mel, floor))


def _hann(size: int) -> np.ndarray:
    """A symmetric Hann window: [size], fp64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))


def povey(size: int) -> np.ndarray:
    """Kaldi's own window, a power of Hann's: [size], fp32."""
    return (_hann(size) ** 0.85).astype(np.float32)


def fbank(audio, frames: int = 1024, bins: int = 128) -> jax.Array:
    """AudioMAE's input: Kaldi log filter banks of 16 kHz audio, normalised.

    audio: [B, samples] -> [B, frames, bins], Hann windows. Clips of 10.24 s have 1022 frames; zeros
    fill the rest before the normalisation, as in AudioLDM 2's `extract_kaldi_fbank_feature`.
    """
    audio = jnp.asarray(audio, jnp.float32)
    audio = audio - audio.mean(1, keepdims=True)
    window = _hann(400).astype(np.float32)
    mel = log_filter_banks(audio, window, bins, np.finfo(np.float32).eps)
    mel = jnp.pad(mel, ((0, 0), (0, max(0, frames - mel.shape[1])), (0, 0)))[:, :frames]
    return (mel - FBANK_MEAN) / (2 * FBANK_DEVIATION)
