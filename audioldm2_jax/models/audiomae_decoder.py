"""AudioMAE's decoders, for its pre-training (arXiv 2207.06405, section 3.2)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models.audiomae import ViTBlock, fixed_positions
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels.dispatch import attend
from audioldm2_jax.models.layers import FeedForward, maybe_remat
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import AudioMAEConfig

# Side of AudioMAE's windows in patches, and the rows by which every second block shifts them.
WINDOW, SHIFT = 4, 2


class AudioMAEDecoder(nn.Module):
    """Reconstructs all patches from the tokens of the visible ones.

    tokens: [B, 1 + K, D] of `AudioMAE.encode_seen`; inverse: [B, patches], each patch's index in
    the shuffled order, whose first K are visible -> pixels [B, patches, patch * patch]. local:
    attention within windows, as in AudioMAE (16 blocks); else the plain decoder of MAE (arXiv
    2111.06377), which the released AudioLDM 2 code instantiates.
    """

    config: AudioMAEConfig
    width: int = 512
    depth: int = 16
    heads: int = 16
    local: bool = True
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, tokens, inverse):
        c = self.config
        x = Dense(self.width, dtype=self.dtype, name="embed")(tokens)
        token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width))
        hidden = inverse.shape[1] + 1 - x.shape[1]
        masks = jnp.broadcast_to(token.astype(self.dtype), (x.shape[0], hidden, self.width))
        shuffled = jnp.concatenate([x[:, 1:], masks], 1)
        restored = jnp.take_along_axis(shuffled, inverse[..., None], 1)
        x = jnp.concatenate([x[:, :1], restored], 1)
        positions = self.param("positions", fixed_positions, x.shape[1], self.width, c)
        x = x + positions.astype(self.dtype)
        x = self._local(x[:, 1:]) if self.local else self._global(x)[:, 1:]
        x = LayerNorm(c.eps, self.dtype, name="norm")(x)
        return Dense(c.patch * c.patch, dtype=self.dtype, name="pixels")(x)

    def _global(self, x):
        shape = {"width": self.width, "heads": self.heads, "hidden": 4 * self.width}
        block = dataclasses.replace(self.config, **shape)
        for i in range(self.depth):
            x = maybe_remat(ViTBlock, self.remat)(block, self.dtype, name=f"blocks_{i}")(x)
        return x

    def _local(self, x):
        c, block = self.config, maybe_remat(LocalBlock, self.remat)
        grid = (x.shape[0], c.frames // c.patch, c.bins // c.patch, self.width)
        y = x.reshape(grid)
        for i in range(self.depth):
            shift = SHIFT * (i % 2)
            y = block(self.heads, shift, c.eps, self.dtype, name=f"blocks_{i}")(y)
        return y.reshape(x.shape)


class LocalBlock(nn.Module):
    """A Swin V2 block: cosine attention within windows and an MLP, both with a norm at their end.

    x: [B, rows, columns, D] -> the same shape. shift: rows by which the windows move. Source: arXiv
    2111.09883; reference: timm's SwinTransformerV2CrBlock. Norms start at scale zero, so that a new
    block is the identity.
    """

    heads: int
    shift: int
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        rows, columns, width = x.shape[1:]
        window = min(WINDOW, rows), min(WINDOW, columns)
        shift = self.shift if rows > WINDOW else 0
        h = jnp.roll(x, -shift, 1)
        h = self._attention(_windows(h, window), window, rows, shift)
        h = jnp.roll(_unwindowed(h, window, x.shape), shift, 1)
        x = x + self._norm(h, "norm_attention")
        h = FeedForward(4 * width, dtype=self.dtype, name="mlp")(x)
        return x + self._norm(h, "norm_mlp")

    def _norm(self, x, name):
        return LayerNorm(self.eps, self.dtype, 0.0, name=name)(x)

    def _attention(self, x, window, rows, shift):
        """x: [B, windows, tokens, D] -> the same shape."""
        batch, count, tokens, width = x.shape

        def heads(name):
            y = Dense(width, dtype=self.dtype, name=name)(x)
            return y.reshape(batch * count, tokens, self.heads, -1)

        query, key, value = (heads(name) for name in ("query", "key", "value"))
        scale = self.param("scale", nn.initializers.constant(math.log(10.0)), (self.heads,))
        scale = jnp.exp(jnp.minimum(scale.astype(jnp.float32), math.log(100.0)))
        query = _unit(query) * scale[:, None].astype(self.dtype)
        hidden = Dense(384, name="distance_up")(log_offsets(window))
        bias = Dense(self.heads, name="distance_down")(nn.relu(hidden))
        bias = bias.transpose(1, 0).reshape(1, self.heads, tokens, tokens)
        if shift:
            apart = jnp.tile(jnp.asarray(shift_mask(rows, count, window, shift)), (batch, 1, 1))
            bias = bias + apart[:, None]
        out = attend(query, _unit(key), value, bias=bias, scale=1.0)
        return Dense(width, dtype=self.dtype, name="out")(out.reshape(x.shape))


def _unit(x):
    """Unit vectors along the last axis."""
    wide = x.astype(jnp.float32)
    return (wide / jnp.sqrt(jnp.square(wide).sum(-1, keepdims=True) + 1e-24)).astype(x.dtype)


def _windows(x, window):
    """[B, rows, columns, D] -> [B, windows, tokens, D]."""
    batch, rows, columns, width = x.shape
    high, wide = window
    x = x.reshape(batch, rows // high, high, columns // wide, wide, width)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, high * wide, width)


def _unwindowed(x, window, shape):
    """The inverse of `_windows`."""
    batch, rows, columns, width = shape
    high, wide = window
    x = x.reshape(batch, rows // high, columns // wide, high, wide, width)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def log_offsets(window: tuple[int, int]) -> np.ndarray:
    """Signed logarithms of the offsets between a window's tokens: [tokens * tokens, 2]."""
    grid = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij")).reshape(2, -1)
    offset = (grid[:, :, None] - grid[:, None, :]).reshape(2, -1).T.astype(np.float32)
    return np.sign(offset) * np.log1p(np.abs(offset))


def shift_mask(rows: int, count: int, window: tuple[int, int], shift: int) -> np.ndarray:
    """-100 for pairs that are in one window only because of the roll: [windows, tokens, tokens]."""
    high, wide = window
    row = np.arange(rows)
    region = (row >= rows - high).astype(int) + (row >= rows - shift)
    columns = count * wide // (rows // high)
    image = np.broadcast_to(region[:, None, None], (rows, columns, 1))[None]
    windows = np.asarray(
        image.reshape(1, rows // high, high, columns // wide, wide, 1).transpose(0, 1, 3, 2, 4, 5)
    ).reshape(count, high * wide)
    return np.where(windows[:, None] != windows[:, :, None], -100.0, 0.0).astype(np.float32)
