"""MusicNN's front end (arXiv 1909.06654): compressed mels of 3 s at 16 kHz."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.features.mel import MelConfig, mel_filters
from audioldm2_jax.features.stft import stft

SAMPLE_RATE, FFT, HOP = 16000, 512, 256
FRAMES, MELS = 187, 96
PATCH = FFT + (FRAMES - 1) * HOP  # samples


def musicnn_mel(audio) -> jax.Array:
    """Mels of patches, log10(1 + 10000 power): audio [B, PATCH] -> [B, FRAMES, MELS].

    As of musicnn/extractor.py: librosa's powers are stored in 16 bits before the logarithm, and
    NumPy 1.16, which the package asks for, takes it in 32 bits.
    """
    power = jnp.square(jnp.abs(stft(audio, FFT, HOP, 0)))
    bank = mel_filters(MelConfig(SAMPLE_RATE, FFT, HOP, MELS, 0.0, SAMPLE_RATE / 2))
    mel = jnp.einsum("btk,kf->btf", power, bank, precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(10000 * _half(mel) + 1)


def _half(x):
    """Non-negative numbers rounded to float16, as float32.

    Compilers may skip a cast there and back; below the normal numbers steps are 2**-24.
    """
    normal = jax.lax.reduce_precision(jnp.minimum(x, 65504.0), exponent_bits=8, mantissa_bits=10)
    return jnp.where(x < 2.0**-14, jnp.round(x * 2.0**24) * 2.0**-24, normal)
