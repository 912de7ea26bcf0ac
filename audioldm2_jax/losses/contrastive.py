"""Symmetric contrastive loss of CLAP (arXiv 2211.06687, eq. 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def contrastive(audio, text, audio_scale, text_scale) -> jax.Array:
    """Mean of both directions' cross entropies, each with its own logit scale.

    audio, text: [B, D] of unit length; row i of both is a pair. Under `jit` with a sharded batch
    the logits span all devices' rows, as LAION's gathered features do.
    """
    similarity = audio.astype(jnp.float32) @ text.astype(jnp.float32).T
    audio_to_text = jnp.diagonal(jax.nn.log_softmax(audio_scale * similarity, 1))
    text_to_audio = jnp.diagonal(jax.nn.log_softmax(text_scale * similarity.T, 1))
    return -0.5 * (audio_to_text.mean() + text_to_audio.mean())


def recall_at_1(audio, text) -> jax.Array:
    """Share of clips whose nearest text is their own. audio, text: [B, D] of unit length."""
    return (jnp.argmax(audio @ text.T, 1) == jnp.arange(audio.shape[0])).mean()
