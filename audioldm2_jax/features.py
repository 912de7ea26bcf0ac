"""Log-mel of the VAE and vocoder, and AudioMAE's filter banks, as pure functions for any device.

CLAP's front end is `audio.clap_log_mel`. Training and inference use the same functions.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import mel_scale
from audioldm2_jax.presets import HiFiGANConfig

# AudioMAE's statistics of AudioSet, by which its input is normalised.
FBANK_MEAN, FBANK_DEVIATION = -4.2677393, 4.5689974


@dataclass(frozen=True)
class MelConfig:
    """Log-mel front end of an autoencoder and its vocoder. Rates in Hz, lengths in samples."""

    sample_rate: int = 16000
    fft: int = 1024
    hop: int = 160
    mels: int = 64
    low: float = 0.0
    high: float = 8000.0


MEL_16K = MelConfig()
MEL_48K = MelConfig(48000, 2048, 480, 256, 20.0, 24000.0)


def mel_config(vocoder: HiFiGANConfig) -> MelConfig:
    """The front end that a vocoder inverts, and so of its VAE."""
    base = MEL_48K if vocoder.sample_rate == 48000 else MEL_16K
    return dataclasses.replace(base, mels=vocoder.mels, sample_rate=vocoder.sample_rate)


@functools.cache
def mel_filters(config: MelConfig) -> np.ndarray:
    """Slaney's filters: [bins, mels]."""
    c = config
    return mel_scale.mel_filters(c.sample_rate, c.fft, c.mels, c.low, c.high).T


def _frames(audio, size: int, hop: int, count: int):
    """[B, samples] -> [B, count, size]."""
    return audio[:, np.arange(count)[:, None] * hop + np.arange(size)]


def _hann(size: int) -> np.ndarray:
    """Periodic."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def stft(audio, size: int, hop: int, pad: int) -> jax.Array:
    """[B, samples] -> complex [B, frames, size / 2 + 1]; periodic Hann windows, ends reflected.

    pad: samples by which either end is reflected.
    """
    audio = jnp.pad(jnp.asarray(audio, jnp.float32), ((0, 0), (pad, pad)), mode="reflect")
    frames = _frames(audio, size, hop, (audio.shape[1] - size) // hop + 1)
    return jnp.fft.rfft(frames * _hann(size))


def inverse_stft(spectrum, size: int, hop: int, pad: int) -> jax.Array:
    """The audio whose `stft` is nearest, in least squares: [B, (frames - 1) * hop + size - 2 pad].

    spectrum: complex [B, frames, size / 2 + 1] (Griffin and Lim 1984, equation 6).
    """
    window, count = _hann(size), spectrum.shape[1]
    weights = _overlapped(np.broadcast_to(np.square(window), (1, count, size)), hop)
    audio = _overlapped(jnp.fft.irfft(spectrum, size) * window, hop)
    end = (count - 1) * hop + size - pad
    return (audio / jnp.maximum(weights, 1e-3))[:, pad:end]


def _overlapped(frames, hop: int) -> jax.Array:
    """Adds frames that begin `hop` apart: [B, count, size] -> [B, at least their length]."""
    batch, count, size = frames.shape
    steps = -(-size // hop)
    pieces = jnp.pad(frames, ((0, 0), (0, 0), (0, steps * hop - size)))
    pieces = pieces.reshape(batch, count, steps, hop)
    total = sum(
        jnp.pad(pieces[:, :, i], ((0, 0), (i, steps - 1 - i), (0, 0))) for i in range(steps)
    )
    return total.reshape(batch, -1)


def log_mel(audio, config: MelConfig = MEL_16K) -> jax.Array:
    """Natural logarithm of mel magnitudes: what the VAE encodes and the vocoder inverts.

    audio: [B, samples] -> [B, samples // hop, mels]. Reflected by (fft - hop) / 2 on both sides, so
    that 10.24 s make exactly 1024 frames (AudioLDM's training repository, `mel_spectrogram_train`).
    """
    magnitude = jnp.abs(stft(audio, config.fft, config.hop, (config.fft - config.hop) // 2))
    mel = jnp.einsum(
        "btk,kf->btf", magnitude, mel_filters(config), precision=jax.lax.Precision.HIGHEST
    )
    return jnp.log(jnp.maximum(mel, 1e-5))


def decibel_mel(audio, config) -> jax.Array:
    """Log-mel in dB of powers, as PANNs' classifiers read it (torchlibrosa's front end).

    audio: [B, samples] -> [B, 1 + samples // hop, mels]; config: fft, hop, mels, low, high and
    sample_rate. Frames are centred, the ends reflected.
    """
    power = jnp.square(jnp.abs(stft(audio, config.fft, config.hop, config.fft // 2)))
    names = ("sample_rate", "fft", "hop", "mels", "low", "high")
    bank = mel_filters(MelConfig(*(getattr(config, name) for name in names)))
    mel = jnp.einsum("btk,kf->btf", power, bank, precision=jax.lax.Precision.HIGHEST)
    return 10.0 * jnp.log10(jnp.maximum(mel, 1e-10))


@functools.cache
def kaldi_filters(bins: int, fft: int, sample_rate: int, low: float = 20.0) -> np.ndarray:
    """Kaldi's triangles, straight in its mel scale: [fft / 2 + 1, bins]; the last row is zero."""

    def mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)

    edges = np.linspace(mel(low), mel(sample_rate / 2), bins + 2)
    places = mel(np.arange(fft // 2) * sample_rate / fft)[:, None]
    rise = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0.0, np.minimum(rise, fall))
    return np.pad(bank, ((0, 1), (0, 0))).astype(np.float32)


def fbank(audio, frames: int = 1024, bins: int = 128) -> jax.Array:
    """AudioMAE's input: Kaldi log filter banks of 16 kHz audio, normalised.

    audio: [B, samples] -> [B, frames, bins]. 25 ms Hann windows every 10 ms, offset removed,
    pre-emphasis 0.97, power. Clips of 10.24 s give 1022 frames; what is missing is zero before the
    normalisation, as AudioLDM 2 pads it (`extract_kaldi_fbank_feature`).
    """
    size, hop, fft = 400, 160, 512
    audio = jnp.asarray(audio, jnp.float32)
    audio = audio - audio.mean(1, keepdims=True)
    count = max(0, (audio.shape[1] - size) // hop + 1)
    cut = _frames(audio, size, hop, count)
    cut = cut - cut.mean(-1, keepdims=True)
    before = jnp.concatenate([cut[..., :1], cut[..., :-1]], -1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))
    power = jnp.square(
        jnp.abs(jnp.fft.rfft((cut - 0.97 * before) * window.astype(np.float32), fft))
    )
    bank = kaldi_filters(bins, fft, 16000)
    mel = jnp.einsum("btk,kf->btf", power, bank, precision=jax.lax.Precision.HIGHEST)
    mel = jnp.log(jnp.maximum(mel, np.finfo(np.float32).eps))
    mel = jnp.pad(mel, ((0, 0), (0, max(0, frames - count)), (0, 0)))[:, :frames]
    return (mel - FBANK_MEAN) / (2 * FBANK_DEVIATION)
