"""AudioMAE's encoder, whose features are the language of audio, LOA (AudioLDM 2, section III-A).

Source: arXiv 2207.06405; references: the authors' encoder without masking, timm's
VisionTransformer.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.layers import Conv, FeedForward, maybe_remat
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import AudioMAEConfig


class ViTBlock(nn.Module):
    """Pre-norm transformer block. x: [B, L, D] -> [B, L, D]."""

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

    Patches are time-major. The tokens are the mean over the last `averaged` blocks, each after the
    final norm: three for the LOA, one for a classifier.
    """

    config: AudioMAEConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        c = self.config
        window = (c.patch, c.patch)
        self.patch = Conv(c.width, window, window, ((0, 0), (0, 0)), dtype=self.dtype)
        self.class_token = self.param("class_token", nn.initializers.normal(0.02), (1, 1, c.width))
        count = 1 + (c.frames // c.patch) * (c.bins // c.patch)
        self.positions = self.param("positions", fixed_positions, count, c.width, c)
        self.norm = LayerNorm(c.eps, self.dtype)
        self.blocks = [maybe_remat(ViTBlock, self.remat)(c, self.dtype) for _ in range(c.depth)]

    def __call__(self, fbank):
        c = self.config
        x, outputs = self._tokens(fbank), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i >= c.depth - c.averaged:
                outputs.append(self.norm(x))
        return sum(outputs) / len(outputs)

    def encode_seen(self, fbank, seen):
        """Tokens of the visible patches alone, for pre-training.

        fbank: [B, frames, bins]; seen: [B, K], the indices of patches -> [B, 1 + K, D].
        """
        x = self._tokens(fbank)
        patches = jnp.take_along_axis(x[:, 1:], seen[..., None], 1)
        x = jnp.concatenate([x[:, :1], patches], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def _tokens(self, fbank):
        """Patches with their positions, the class token first."""
        c = self.config
        assert fbank.shape[1:] == (c.frames, c.bins), fbank.shape
        x = self.patch(fbank[..., None]).reshape(fbank.shape[0], -1, c.width)
        start = self.class_token.astype(self.dtype)
        start = jnp.broadcast_to(start, (x.shape[0], 1, c.width))
        return jnp.concatenate([start, x], 1) + self.positions.astype(self.dtype)


def patches_of(fbank, config: AudioMAEConfig) -> jax.Array:
    """The pixels of each patch: [B, frames, bins] -> [B, patches, patch * patch], time-major."""
    p = config.patch
    rows, columns = config.frames // p, config.bins // p
    grid = fbank.reshape(-1, rows, p, columns, p).transpose(0, 1, 3, 2, 4)
    return grid.reshape(-1, rows * columns, p * p)


def fixed_positions(key, count: int, width: int, config: AudioMAEConfig) -> jax.Array:
    """Sinusoidal embeddings of the patches' two coordinates: [1, count, width].

    The class token's is zero. Rows and columns of the grid are exchanged, as in AudioMAE's code.
    """
    rows, columns = config.bins // config.patch, config.frames // config.patch
    down, across = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    frequencies = 1.0 / 10000 ** (np.arange(width // 4) / (width / 4))

    def sinusoids(coordinates):
        angles = coordinates.reshape(-1, 1) * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], 1)

    table = np.concatenate([sinusoids(across), sinusoids(down)], 1)
    table = np.concatenate([np.zeros((1, table.shape[1])), table])
    return jnp.asarray(np.pad(table, ((0, 0), (0, width - table.shape[1])))[None], jnp.float32)


def loa_length(config: AudioMAEConfig, pooling: int) -> int:
    """Number of LOA vectors if both axes are pooled by `pooling`."""
    rows, columns = config.frames // config.patch, config.bins // config.patch
    return (rows // pooling) * (columns // pooling)


def pool_loa(tokens, config: AudioMAEConfig, time: int, bins: int) -> jax.Array:
    """The LOA: the mean of average and maximum pooling over `time` x `bins` patches.

    tokens: [B, 1 + patches, D] -> [B, patches / (time * bins), D], time-major, without the class
    token. AudioLDM 2 pools 8 x 8 for sound and music (8 vectors), 1 x 1 for speech (512).
    """
    rows, columns = config.frames // config.patch, config.bins // config.patch
    grid = tokens[:, 1:].reshape(-1, rows // time, time, columns // bins, bins, config.width)
    pooled = (grid.mean((2, 4)) + grid.max((2, 4))) / 2
    return pooled.reshape(tokens.shape[0], -1, config.width)
