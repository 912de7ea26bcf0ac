"""w2v-BERT 2.0, a Conformer over filter banks (arXiv 2005.08100, 2108.06209, 2312.05187).

Reference: transformers' Wav2Vec2BertModel.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.features.w2v_bert import stacked_filter_banks
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.hubert import frame_counts, keep_frames
from audioldm2_jax.models.kernels import dispatch
from audioldm2_jax.models.kernels.attention import KeyLengths
from audioldm2_jax.models.layers import ACTIVATIONS, FeedForward
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import W2VBERTConfig


def by_key(near, left: int, right: int) -> jax.Array:
    """Values by distance to values by key. near: [..., T, left + right + 1] -> [..., T, T].

    Entry (i, j) is that of distance j - i, which is clipped to -left ... right.
    """
    length = near.shape[-2]
    index = np.clip(np.arange(1 - length, length + 1), -left, right) + left
    # Rows of all distances, one column too many; read with rows one shorter, each starts one later.
    far = jnp.take(near, index, axis=-1).reshape(*near.shape[:-2], -1)
    far = far[..., length - 1 : length - 1 + length * (2 * length - 1)]
    return far.reshape(*near.shape[:-1], 2 * length - 1)[..., :length]


class RelativeKeyAttention(nn.Module):
    """Self-attention whose scores have a term by query and distance. x: [B, T, D] -> [B, T, D]."""

    config: W2VBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask):
        c = self.config
        width = c.width // c.heads

        def heads(name):
            y = Dense(c.width, dtype=self.dtype, name=name)(x)
            return y.reshape(*y.shape[:2], c.heads, width)

        query, key, value = heads("query") * width**-0.5, heads("key"), heads("value")
        shape = (c.left + c.right + 1, width)
        table = self.param("distance_keys", nn.initializers.normal(width**-0.5), shape)
        near = jnp.einsum("blnh,wh->bnlw", query, table.astype(self.dtype))
        bias = by_key(near, c.left, c.right)
        out = dispatch.attend(query, key, value, mask=mask, bias=bias, scale=1.0)
        return Dense(c.width, dtype=self.dtype, name="out")(out.reshape(x.shape))


class ConvModule(nn.Module):
    """The Conformer's convolution, causal. x: [B, T, D], keep: [B, T, 1] or None -> [B, T, D]."""

    config: W2VBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, keep):
        c = self.config
        x = LayerNorm(c.eps, self.dtype, name="norm")(x)
        x = x if keep is None else jnp.where(keep, x, 0)
        up = Dense(c.width, use_bias=False, dtype=self.dtype, name="up")(x)
        gate = Dense(c.width, use_bias=False, dtype=self.dtype, name="gate")(x)
        x = up * nn.sigmoid(gate)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (c.kernel, 1, c.width))
        x = depthwise(x, kernel.astype(self.dtype))
        x = ACTIVATIONS[c.activation](LayerNorm(c.eps, self.dtype, name="norm_conv")(x))
        return Dense(c.width, use_bias=False, dtype=self.dtype, name="down")(x)


def depthwise(x, kernel) -> jax.Array:
    """A causal depthwise convolution as a sum over taps. x: [B, T, D], kernel: [k, 1, D].

    XLA's grouped convolution of as many groups as channels takes many times as long on the CPU.
    """
    size, frames = len(kernel), x.shape[1]
    x = jnp.pad(x, ((0, 0), (size - 1, 0), (0, 0)))
    return sum(x[:, i : i + frames] * kernel[i, 0] for i in range(size))


class W2VBERTBlock(nn.Module):
    """A Conformer block. x: [B, T, D], keep: [B, T, 1] or None -> [B, T, D]."""

    config: W2VBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask, keep):
        c = self.config

        def norm(name, x):
            return LayerNorm(c.eps, self.dtype, name=name)(x)

        def mlp(name, x):
            return 0.5 * FeedForward(c.hidden, c.activation, dtype=self.dtype, name=name)(x)

        x = x + mlp("mlp_in", norm("norm_mlp_in", x))
        attention = RelativeKeyAttention(c, self.dtype, name="attention")
        x = x + attention(norm("norm_attention", x), mask)
        x = x + ConvModule(c, self.dtype, name="conv")(x, keep)
        x = x + mlp("mlp_out", norm("norm_mlp_out", x))
        return norm("norm", x)


class W2VBERT(nn.Module):
    """wave: [B, samples] at 16 kHz -> a hidden state [B, T, D], T of `frame_counts`.

    A clip's frames do not depend on what lies behind its length; those behind it mean nothing.
    """

    config: W2VBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave, lengths=None, layer: int | None = None):
        """lengths: samples [B]; None: all. layer: 0 is the first block's input, n its n-th output.

        None is the last one.
        """
        c, mask, keep = self.config, None, None
        if c.mask:
            self.param("mask", nn.initializers.uniform(), (c.width,))
        x = stacked_filter_banks(wave, c.mels, c.stack, lengths).astype(self.dtype)
        x = LayerNorm(c.eps, self.dtype, name="norm_project")(x)
        x = Dense(c.width, dtype=self.dtype, name="project")(x)
        if lengths is not None:
            counts = frame_counts(c, lengths)
            keep, mask = keep_frames(counts, x.shape[1]), KeyLengths(counts)
            x = jnp.where(keep, x, 0)
        for i in range(c.depth if layer is None else layer):
            x = W2VBERTBlock(c, self.dtype, name=f"blocks_{i}")(x, mask, keep)
        return x
