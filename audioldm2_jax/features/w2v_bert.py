"""The input of w2v-BERT 2.0: normalised Kaldi filter banks, stacked in pairs.

As transformers' SeamlessM4TFeatureExtractor computes it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.features.kaldi import log_filter_banks, povey

_FLOOR = 1.192092955078125e-07


def stacked_filter_banks(audio, bins: int, stack: int, lengths=None) -> jax.Array:
    """audio: [B, samples] at 16 kHz -> [B, T, stack * bins].

    Each bin has mean 0 and variance 1 over the frames of its clip. lengths: samples [B]; None: all.
    """
    # Kaldi counts in 16-bit integers.
    mel = log_filter_banks(jnp.asarray(audio, jnp.float32) * 32768, povey(400), bins, _FLOOR)
    frames = mel.shape[1]
    counts = frames if lengths is None else ((lengths - 400) // 160 + 1)[:, None]
    keep = (jnp.arange(frames) < counts)[..., None] if lengths is not None else True
    total = frames if lengths is None else counts[..., None]
    mel = jnp.where(keep, mel - jnp.where(keep, mel, 0).sum(1, keepdims=True) / total, 0)
    # The unbiased variance; torch's default.
    variance = jnp.square(mel).sum(1, keepdims=True) / (total - 1)
    mel = mel * jax.lax.rsqrt(variance + 1e-7)
    count = frames // stack
    return mel[:, : count * stack].reshape(len(mel), count, stack * bins)
