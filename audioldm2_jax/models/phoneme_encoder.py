"""VITS' text encoder over phonemes (arXiv 2106.06103; reference: transformers' VitsTextEncoder)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.layers import Conv
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import PhonemeConfig


def _skew(relative, window):
    """Values by distance, [..., L, 2 W + 1], to values by key, [..., L, L]; 0 beyond the window."""
    length = relative.shape[-2]
    distance = jnp.arange(length)[None, :] - jnp.arange(length)[:, None]
    index = jnp.clip(distance + window, 0, 2 * window)
    values = jnp.take_along_axis(
        relative, jnp.broadcast_to(index, (*relative.shape[:-1], length)), -1
    )
    return jnp.where(jnp.abs(distance) <= window, values, 0.0)


def _unskew(weights, window):
    """Values by key, [..., L, L], to values by distance, [..., L, 2 W + 1]."""
    length = weights.shape[-1]
    key = jnp.arange(length)[:, None] + jnp.arange(-window, window + 1)[None, :]
    values = jnp.take_along_axis(
        weights,
        jnp.broadcast_to(jnp.clip(key, 0, length - 1), (*weights.shape[:-1], 2 * window + 1)),
        -1,
    )
    return jnp.where((key >= 0) & (key < length), values, 0.0)


class RelativeAttention(nn.Module):
    """Self-attention with learned keys and values by relative distance up to `config.window`.

    x: [B, L, D], mask: [B, L] -> [B, L, D].
    """

    config: PhonemeConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask):
        c, width = self.config, self.config.width // self.config.heads

        def heads(name):
            y = Dense(c.width, dtype=self.dtype, name=name)(x)
            return y.reshape(*y.shape[:2], c.heads, width)

        def table(name):
            shape = (2 * c.window + 1, width)
            return self.param(name, nn.initializers.normal(width**-0.5), shape).astype(self.dtype)

        query, key, value = heads("query") * width**-0.5, heads("key"), heads("value")
        scores = jnp.einsum("blnh,bsnh->bnls", query, key)
        near = jnp.einsum("blnh,wh->bnlw", query, table("distance_keys"))
        scores = (scores + _skew(near, c.window)).astype(jnp.float32)
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores, -1).astype(self.dtype)
        out = jnp.einsum("bnls,bsnh->blnh", weights, value)
        near = _unskew(weights, c.window)
        out = out + jnp.einsum("bnlw,wh->blnh", near, table("distance_values"))
        return Dense(c.width, dtype=self.dtype, name="out")(out.reshape(x.shape))


class PhonemeBlock(nn.Module):
    """Post-norm transformer block with a convolutional MLP. x: [B, L, D], mask: [B, L]."""

    config: PhonemeConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask):
        c, keep = self.config, mask[..., None]
        attention = RelativeAttention(c, self.dtype, name="attention")(x, mask)
        x = LayerNorm(c.eps, self.dtype, name="norm_attention")(x + attention)
        pad = (((c.kernel - 1) // 2, c.kernel // 2),)
        size = {"window": (c.kernel,), "padding": pad, "dtype": self.dtype}
        h = nn.relu(Conv(c.hidden, **size, name="mlp_up")(x * keep))
        h = Conv(c.width, **size, name="mlp_down")(h * keep) * keep
        return LayerNorm(c.eps, self.dtype, name="norm_mlp")(x + h)


class PhonemeEncoder(nn.Module):
    """tokens, mask: [B, L] -> states [B, L, D], zero where the mask is False."""

    config: PhonemeConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens, mask):
        c, mask = self.config, mask.astype(bool)
        x = nn.Embed(c.vocab, c.width, dtype=self.dtype, name="tokens")(tokens) * c.width**0.5
        x = x * mask[..., None]
        for i in range(c.depth):
            x = PhonemeBlock(c, self.dtype, name=f"blocks_{i}")(x, mask)
        return x * mask[..., None]
