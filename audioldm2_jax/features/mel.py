"""Log-mel front ends of the VAE and vocoder, and of PANNs' classifiers."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.features.mel_scale import slaney_filters
from audioldm2_jax.features.stft import stft
from audioldm2_jax.presets import HiFiGANConfig


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
    """The front end whose mel a vocoder inverts and its VAE encodes."""
    base = MEL_48K if vocoder.sample_rate == 48000 else MEL_16K
    return dataclasses.replace(base, mels=vocoder.mels, sample_rate=vocoder.sample_rate)


@functools.cache
def mel_filters(config: MelConfig) -> np.ndarray:
    """Slaney's filters: [fft / 2 + 1, mels]."""
    c = config
    return slaney_filters(c.sample_rate, c.fft, c.mels, c.low, c.high).T


def log_mel(audio, config: MelConfig = MEL_16K) -> jax.Array:
    """Natural logarithm of mel magnitudes, which the VAE encodes and the vocoder inverts.

    audio: [B, samples] -> [B, samples // hop, mels]. Both ends are reflected by (fft - hop) / 2,
    so that 10.24 s are exactly 1024 frames (`mel_spectrogram_train` of AudioLDM's training code).
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
    pad = config.fft // 2
    audio = jnp.pad(jnp.asarray(audio, jnp.float32), ((0, 0), (pad, pad)), mode="reflect")
    return framed_decibel_mel(audio, config)


def framed_decibel_mel(audio, config) -> jax.Array:
    """`decibel_mel` of audio whose ends are reflected already.

    audio: [B, samples] -> [B, 1 + (samples - fft) // hop, mels].
    """
    power = jnp.square(jnp.abs(stft(audio, config.fft, config.hop, 0)))
    names = ("sample_rate", "fft", "hop", "mels", "low", "high")
    bank = mel_filters(MelConfig(*(getattr(config, name) for name in names)))
    mel = jnp.einsum("btk,kf->btf", power, bank, precision=jax.lax.Precision.HIGHEST)
    return 10.0 * jnp.log10(jnp.maximum(mel, 1e-10))
