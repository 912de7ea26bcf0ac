"""T5's encoder (arXiv 1910.10683), FLAN-T5's too (reference: transformers' T5EncoderModel)."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Embed
from audioldm2_jax.models.kernels.attention import keep_mask
from audioldm2_jax.models.layers import FeedForward
from audioldm2_jax.models.norms import RMSNorm
from audioldm2_jax.presets import T5Config


def distance_buckets(distances: np.ndarray, buckets: int, distance: int) -> np.ndarray:
    """Buckets of distances >= 0: exact for near ones, logarithmic up to `distance` and beyond."""
    exact = buckets // 2
    # float32, as the reference computes it: the floor is sensitive at bucket borders.
    ratio = np.log(np.maximum(distances, 1).astype(np.float32) / np.float32(exact))
    scaled = ratio / np.float32(math.log(distance / exact)) * np.float32(buckets - exact)
    far = np.minimum(exact + scaled.astype(np.int64), buckets - 1)
    return np.where(distances < exact, distances, far)


def relative_buckets(length: int, buckets: int, distance: int) -> np.ndarray:
    """Bucket of each (query, key) pair, [L, L]; keys behind the query have the second half."""
    half = buckets // 2
    offset = np.arange(length)[None, :] - np.arange(length)[:, None]
    return distance_buckets(np.abs(offset), half, distance) + (offset > 0) * half


class T5Block(nn.Module):
    """Pre-norm transformer block without biases. x: [B, L, D], bias: [1, N, L, L] -> [B, L, D]."""

    config: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask, bias):
        c = self.config
        h = RMSNorm(c.eps, self.dtype, name="norm_attention")(x)
        x = x + Attention(
            c.heads,
            c.head_width,
            c.width,
            out_bias=False,
            scale=1.0,
            dtype=self.dtype,
            name="attention",
        )(h, mask=mask, bias=bias)
        h = RMSNorm(c.eps, self.dtype, name="norm_mlp")(x)
        return x + FeedForward(
            c.hidden, c.activation, gated=c.gated, bias=False, dtype=self.dtype, name="mlp"
        )(h)


class T5Encoder(nn.Module):
    """tokens, mask: [B, L] -> states [B, L, D]."""

    config: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens, mask):
        c = self.config
        x = Embed(c.vocab, c.width, dtype=self.dtype, name="tokens")(tokens)
        table = nn.Embed(c.buckets, c.heads, dtype=jnp.float32, name="positions")
        bias = table(relative_buckets(tokens.shape[1], c.buckets, c.distance))
        bias, mask = bias.transpose(2, 0, 1)[None], keep_mask(mask)
        for i in range(c.depth):
            x = T5Block(c, self.dtype, name=f"blocks_{i}")(x, mask, bias)
        return RMSNorm(c.eps, self.dtype, name="norm")(x)
