"""AudioMAE's encoder, whose features are the language of audio (AudioLDM 2, section III-A).

arXiv 2207.06405; references: the authors' encoder without masking, timm's VisionTransformer.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.layers import Conv, FeedForward, LayerNorm
from audioldm2_jax.presets import AudioMAEConfig


class ViTBlock(nn.Module):
    """Pre-norm transformer block. x: [B, L, D]."""

    config: AudioMAEConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        c = self.config
        h = LayerNorm(c.eps, self.dtype, name="norm_attention")(x)
        x = x + Attention(
            c.heads, c.width // c.heads, c.width, bias=True, dtype=self.dtype, name="attention"
        )(h)
        h = LayerNorm(c.eps, self.dtype, name="norm_mlp")(x)
        return x + FeedForward(c.hidden, dtype=self.dtype, name="mlp")(h)


class AudioMAE(nn.Module):
    """fbank: [B, frames, bins], normalised -> tokens [B, 1 + patches, D], the class token first.

    Patches are time-major. `averaged` 1 gives the last block's output after the final norm, as a
    classifier reads it; the LOA is the mean over the last three.
    """

    config: AudioMAEConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, fbank):
        c = self.config
        assert fbank.shape[1:] == (c.frames, c.bins), fbank.shape
        patch = (c.patch, c.patch)
        x = Conv(c.width, patch, patch, ((0, 0), (0, 0)), dtype=self.dtype, name="patch")(
            fbank[..., None]
        ).reshape(fbank.shape[0], -1, c.width)
        start = self.param("class_token", nn.initializers.normal(0.02), (1, 1, c.width))
        places = self.param("positions", nn.initializers.normal(0.02), (1, 1 + x.shape[1], c.width))
        start = jnp.broadcast_to(start.astype(self.dtype), (x.shape[0], 1, c.width))
        x = jnp.concatenate([start, x], 1) + places.astype(self.dtype)
        norm, kept = LayerNorm(c.eps, self.dtype, name="norm"), []
        for i in range(c.depth):
            x = ViTBlock(c, self.dtype, name=f"blocks_{i}")(x)
            if i >= c.depth - c.averaged:
                kept.append(norm(x))
        return sum(kept) / len(kept)


def pool_loa(tokens, config: AudioMAEConfig, time: int, bins: int) -> jax.Array:
    """The LOA: mean of average and maximum over `time` x `bins` patches, class token dropped.

    tokens: [B, 1 + patches, D] -> [B, patches / (time * bins), D], time-major. AudioLDM 2 pools 8 x
    8 for sound and music (8 vectors), 1 x 1 for speech (512).
    """
    rows, columns = config.frames // config.patch, config.bins // config.patch
    grid = tokens[:, 1:].reshape(-1, rows // time, time, columns // bins, bins, config.width)
    pooled = (grid.mean((2, 4)) + grid.max((2, 4))) / 2
    return pooled.reshape(tokens.shape[0], -1, config.width)
