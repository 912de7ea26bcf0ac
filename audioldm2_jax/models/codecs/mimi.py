"""Mimi (arXiv 2410.00037; reference: transformers' MimiModel).

SEANet's encoder, a transformer, a convolution that halves the frame rate, and two residual
quantisers; then the mirror of it. All of it is causal.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.codecs.layers import Conv1d, ConvTranspose1d
from audioldm2_jax.models.codecs.quantizer import SplitQuantizer
from audioldm2_jax.models.codecs.seanet import Decoder, Encoder
from audioldm2_jax.models.decoder import rotate, rotation
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels.dispatch import attend
from audioldm2_jax.models.layers import FeedForward
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets.codecs import MimiConfig


def attend_window(query, key, value, window: int) -> jax.Array:
    """Attention of each frame to the last `window` frames, itself included. x: [B, T, N, H].

    By blocks of a window's frames, which read the block before them and their own: memory and time
    grow with T, not with its square.
    """
    batch, frames, heads, width = query.shape
    if frames <= window:
        mask = jnp.tri(frames, dtype=bool)
        return attend(query, key, value, mask=mask[None, None])
    blocks = -(-frames // window)

    def split(x):
        x = jnp.pad(x, ((0, 0), (0, blocks * window - frames), (0, 0), (0, 0)))
        return x.reshape(batch, blocks, window, heads, width)

    def pairs(x):
        x = split(x)
        before = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
        return jnp.concatenate([before, x], 2).reshape(-1, 2 * window, heads, width)

    # Of query i of a block, keys i + 1 to i + window of the pair.
    age = jnp.arange(window)[:, None] + window - jnp.arange(2 * window)
    mask = (age >= 0) & (age < window)
    first = jnp.arange(2 * window) >= window
    mask = jnp.where(jnp.arange(blocks)[:, None, None] == 0, mask & first, mask)
    mask = jnp.tile(mask, (batch, 1, 1))[:, None]
    query = split(query).reshape(-1, window, heads, width)
    out = attend(query, pairs(key), pairs(value), mask=mask)
    return out.reshape(batch, -1, heads, width)[:, :frames]


class Scale(nn.Module):
    """A learned factor for each channel (arXiv 2103.17239). x: [..., D]."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        start = nn.initializers.constant(0.01)
        return x * self.param("scale", start, (x.shape[-1],)).astype(self.dtype)


class TransformerBlock(nn.Module):
    """Pre-norm block whose branches are scaled. x: [B, T, D]; turn: of `rotation`."""

    config: MimiConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, turn):
        c, inner = self.config, self.config.heads * self.config.head_width
        h = LayerNorm(c.eps, self.dtype, name="norm_attention")(x)
        query, key, value = (
            Dense(inner, use_bias=False, dtype=self.dtype, name=name)(h).reshape(
                *h.shape[:2], c.heads, c.head_width
            )
            for name in ("query", "key", "value")
        )
        h = attend_window(rotate(query, turn), rotate(key, turn), value, c.window)
        h = Dense(c.width, use_bias=False, dtype=self.dtype, name="out")(
            h.reshape(*h.shape[:2], inner)
        )
        x = x + Scale(self.dtype, name="scale_attention")(h)
        h = LayerNorm(c.eps, self.dtype, name="norm_mlp")(x)
        h = FeedForward(c.hidden, c.activation, bias=False, dtype=self.dtype, name="mlp")(h)
        return x + Scale(self.dtype, name="scale_mlp")(h)


class Transformer(nn.Module):
    """Causal transformer without a last norm. x: [B, T, D] -> [B, T, D]."""

    config: MimiConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        c = self.config
        turn = rotation(jnp.arange(x.shape[1])[None], c.head_width, c.theta)
        for i in range(c.depth):
            x = TransformerBlock(c, self.dtype, name=f"blocks_{i}")(x, turn)
        return x


class Mimi(nn.Module):
    """wave: [B, T * hop, channels] <-> codes [B, T, Q], the semantic ones first."""

    config: MimiConfig
    dtype: Any = jnp.float32

    def setup(self):
        c, d = self.config, self.dtype
        self.encoder, self.decoder = Encoder(c, d), Decoder(c, d)
        self.encoder_transformer, self.decoder_transformer = Transformer(c, d), Transformer(c, d)
        self.quantizer = SplitQuantizer(
            c.levels, c.codebook, c.codebook_width, c.width, c.semantic, dtype=d
        )
        if c.downsample > 1:
            size, stride = 2 * c.downsample, c.downsample
            self.downsample = Conv1d(
                c.width, (size,), (stride,), mode="edge", use_bias=False, dtype=d
            )
            self.upsample = ConvTranspose1d(
                c.width, size, stride, depthwise=True, use_bias=False, dtype=d
            )

    def encode(self, wave, levels: int | None = None) -> jax.Array:
        """Codes [B, T, Q] int32. levels: Q, the first ones; None for all."""
        assert wave.shape[1] % self.config.hop == 0, wave.shape
        x = self.encoder_transformer(self.encoder(wave))
        x = self.downsample(x) if self.config.downsample > 1 else x
        return self.quantizer.encode(x, levels)

    def decode(self, codes) -> jax.Array:
        """codes: [B, T, Q] of the first Q levels -> wave [B, T * hop, channels], fp32."""
        x = self.quantizer.decode(codes)
        x = self.upsample(x) if self.config.downsample > 1 else x
        return self.decoder(self.decoder_transformer(x)).astype(jnp.float32)

    def __call__(self, wave):
        return self.decode(self.encode(wave))
