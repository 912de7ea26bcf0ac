"""Symmetric contrastive loss of CLAP (arXiv 2211.06687, eq. 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def contrastive(audio, text, audio_scale, text_scale):
    """audio, text: [B, D] of unit length, pairs at equal places of the whole (global) batch.

    -> the mean of both directions' cross entropies, each with its temperature. Under `jit` with a
    sharded batch the product spans all devices, as LAION's gathered features do.
    """
    product = audio.astype(jnp.float32) @ text.astype(jnp.float32).T
    forth = jnp.diagonal(jax.nn.log_softmax(audio_scale * product, 1))
    back = jnp.diagonal(jax.nn.log_softmax(text_scale * product.T, 1))
    return -0.5 * (forth.mean() + back.mean())


def retrieval(audio, text):
    """Share of clips whose own text is the nearest."""
    return (jnp.argmax(audio @ text.T, 1) == jnp.arange(audio.shape[0])).mean()
