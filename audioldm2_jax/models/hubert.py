"""HuBERT, a transformer over waveforms (arXiv 2106.07447; reference: transformers' HubertModel)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels import dispatch
from audioldm2_jax.models.kernels.attention import KeyLengths
from audioldm2_jax.models.layers import ACTIVATIONS, FeedForward
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import HuBERTConfig


def frame_counts(config, samples):
    """The number of frames of clips of so many samples, at least one window. An int or an array."""
    return (samples - config.window) // config.hop + 1


def keep_frames(counts, frames: int) -> jax.Array:
    """A mask of each clip's own frames. counts: [B] -> bool [B, T, 1]."""
    return (jnp.arange(frames) < counts[:, None])[..., None]


def standardise(wave, lengths=None) -> jax.Array:
    """Waveforms of mean 0 and variance 1, zeros behind `lengths`. wave: [B, samples]."""
    keep = 1.0
    if lengths is not None:
        keep = (jnp.arange(wave.shape[1]) < lengths[:, None]).astype(wave.dtype)
    count = wave.shape[1] if lengths is None else lengths[:, None]
    centred = (wave - (wave * keep).sum(1, keepdims=True) / count) * keep
    # 1e-7 is of transformers' feature extractor.
    return centred * jax.lax.rsqrt(jnp.square(centred).sum(1, keepdims=True) / count + 1e-7)


class FirstConv(nn.Module):
    """The first convolution and the norm over time. wave: [B, samples] -> [B, T, C].

    The outputs' means and variances follow from those of the windows, so that the norm needs no
    pass over the outputs, which are the largest array of the network.
    """

    config: HuBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave, counts=None):
        """counts: [B], the number of each clip's own frames."""
        c, channels = self.config, self.config.channels[0]
        shape = (c.kernels[0], 1, channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)[:, 0]
        if c.conv_bias:
            # The norm subtracts it again; it is part of the checkpoint.
            self.param("bias", nn.initializers.zeros, (channels,))
        scale = self.param("norm_scale", nn.initializers.ones, (channels,)).astype(jnp.float32)
        shift = self.param("norm_bias", nn.initializers.zeros, (channels,)).astype(jnp.float32)
        windows = _windows(wave.astype(jnp.float32), c.kernels[0], c.strides[0])
        frames = windows.shape[1]
        keep = 1.0 if counts is None else keep_frames(counts, frames)
        total = frames if counts is None else counts[:, None, None]
        windows = (windows - (windows * keep).sum(1, keepdims=True) / total) * keep
        covariance = jnp.einsum("btk,btl->bkl", windows, windows) / total
        kernel = kernel.astype(jnp.float32)
        variance = jnp.einsum("bkl,kc,lc->bc", covariance, kernel, kernel)
        gain = scale * jax.lax.rsqrt(jnp.maximum(variance, 0.0) + 1e-5)
        kernels = (kernel * gain[:, None]).astype(self.dtype)
        return windows.astype(self.dtype) @ kernels + shift.astype(self.dtype)


def _windows(wave, size: int, hop: int) -> jax.Array:
    """[B, samples] -> [B, T, size], without a gather."""
    count, parts = (wave.shape[1] - size) // hop + 1, -(-size // hop)
    wave = jnp.pad(wave, ((0, 0), (0, max(0, (count + parts - 1) * hop - wave.shape[1]))))
    blocks = wave[:, : (count + parts - 1) * hop].reshape(len(wave), -1, hop)
    return jnp.concatenate([blocks[:, i : i + count] for i in range(parts)], -1)[..., :size]


class Conv(nn.Module):
    """A convolution over time without padding. x: [B, T, I] -> [B, T', O]."""

    features: int
    size: int
    stride: int
    bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        y = dispatch.conv(x.astype(self.dtype), kernel, strides=(self.stride,), padding=((0, 0),))
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)
        return y


class FeatureEncoder(nn.Module):
    """The convolutions over the waveform: [B, samples] -> [B, T, C]."""

    config: HuBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave, lengths=None):
        c, x = self.config, wave[..., None]
        act = ACTIVATIONS[c.conv_activation]
        for i, (channels, size, stride) in enumerate(zip(c.channels, c.kernels, c.strides)):
            if i == 0 and c.conv_norm == "group":
                counts = None if lengths is None else (lengths - size) // stride + 1
                x = FirstConv(c, self.dtype, name="conv_0")(wave, counts)
            else:
                x = Conv(channels, size, stride, c.conv_bias, self.dtype, name=f"conv_{i}")(x)
                if c.conv_norm == "layer":
                    x = LayerNorm(1e-5, self.dtype, name=f"norm_{i}")(x)
            x = act(x)
        return x


class PositionConv(nn.Module):
    """Positions by a grouped convolution with weight norm. x: [B, T, D] -> [B, T, D].

    A tap's kernel is its direction, brought to its length.
    """

    config: HuBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        c = self.config
        shape = (c.position_kernel, c.width // c.position_groups, c.width)
        direction = self.param("direction", nn.initializers.lecun_normal(), shape)
        length = self.param("length", nn.initializers.ones, shape[:1])
        bias = self.param("bias", nn.initializers.zeros, (c.width,))
        direction = direction.astype(jnp.float32)
        norm = jnp.sqrt(jnp.square(direction).sum((1, 2)))
        kernel = direction * (length.astype(jnp.float32) / norm)[:, None, None]
        half = c.position_kernel // 2
        # With an even kernel, transformers drops the last of T + 1 frames.
        padding = ((half, c.position_kernel - 1 - half),)
        y = dispatch.conv(x, kernel.astype(self.dtype), padding=padding, groups=c.position_groups)
        return ACTIVATIONS[c.conv_activation](y + bias.astype(self.dtype))


class HuBERTBlock(nn.Module):
    """A transformer block, norms behind each half or, if `stable`, before. x: [B, T, D]."""

    config: HuBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask):
        c = self.config
        attention = Attention(
            c.heads, c.width // c.heads, c.width, bias=True, dtype=self.dtype, name="attention"
        )
        mlp = FeedForward(c.hidden, c.activation, dtype=self.dtype, name="mlp")
        norm_attention = LayerNorm(c.eps, self.dtype, name="norm_attention")
        norm_mlp = LayerNorm(c.eps, self.dtype, name="norm_mlp")
        if c.stable:
            x = x + attention(norm_attention(x), mask=mask)
            return x + mlp(norm_mlp(x))
        x = norm_attention(x + attention(x, mask=mask))
        return norm_mlp(x + mlp(x))


class HuBERT(nn.Module):
    """wave: [B, samples] -> a hidden state [B, T, D], T of `frame_counts`.

    A clip's frames do not depend on what lies behind its length; those behind it mean nothing.
    """

    config: HuBERTConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave, lengths=None, layer: int | None = None):
        """lengths: samples [B]; None: all. layer: 0 is the first block's input, n its n-th output.

        None is the last one behind the final norm, where the network has one.
        """
        c = self.config
        self.param("mask", nn.initializers.uniform(), (c.width,)) if c.mask else None
        wave = standardise(wave, lengths) if c.normalize else wave
        x = FeatureEncoder(c, self.dtype, name="feature_encoder")(wave, lengths)
        if c.project_norm:
            x = LayerNorm(c.eps, self.dtype, name="norm_project")(x)
        x, mask = Dense(c.width, dtype=self.dtype, name="project")(x), None
        if lengths is not None:
            counts = frame_counts(c, lengths)
            x, mask = jnp.where(keep_frames(counts, x.shape[1]), x, 0), KeyLengths(counts)
        x = x + PositionConv(c, self.dtype, name="positions")(x)
        norm = LayerNorm(c.eps, self.dtype, name="norm")
        x = x if c.stable else norm(x)
        for i in range(c.depth if layer is None else layer):
            x = HuBERTBlock(c, self.dtype, name=f"blocks_{i}")(x, mask)
        return norm(x) if c.stable and layer is None else x
