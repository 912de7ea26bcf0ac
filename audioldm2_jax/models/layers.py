"""Layers shared by the models: convolutions, norms, feed-forwards and time embeddings."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models import convolution

ACTIVATIONS = {
    "relu": nn.relu,
    "silu": nn.silu,
    # Exact, as torch's default; flax's own default is the tanh form.
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_new": lambda x: nn.gelu(x, approximate=True),
}


class Conv(nn.Module):
    """Convolution over the window's axes, channels last; see `convolution.conv` for the arguments.

    Parameters hold either `kernel` [*window, I, O] or, prepared for the CPU by `fast_kernels`, its
    Winograd transform [16, I, O] as `winograd`.
    """

    features: int
    window: tuple[int, ...] = (3, 3)
    strides: tuple[int, ...] | None = None
    padding: tuple[tuple[int, int], ...] | None = None
    dilation: tuple[int, ...] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = x.astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        if self.has_variable("params", "winograd"):
            kernel = self.get_variable("params", "winograd").astype(self.dtype)
            return convolution.winograd_conv(x, kernel) + bias
        shape = (*self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        y = convolution.conv(
            x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation
        )
        return y + bias


class ConvTranspose(nn.Module):
    """Transposed 1-D convolution. x: [B, T, I] -> [B, T * stride + k - stride - 2 * padding, O]."""

    features: int
    size: int
    stride: int
    padding: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        x = x.astype(self.dtype)
        return convolution.conv_transpose(x, kernel, stride=self.stride, padding=self.padding) + bias


class GroupNorm(nn.Module):
    """Group normalisation over all axes but the first, channels last, statistics in fp32.

    `silu` applies the activation that nearly always follows.
    """

    groups: int = 32
    eps: float = 1e-5
    silu: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(jnp.float32)
        wide = x.astype(jnp.float32)
        space = tuple(range(1, x.ndim - 1))
        # Channel sums first, then the small reduction over a group: one pass over x, both sums
        # fused; shifted by the mean's own square afterwards, which costs accuracy only where
        # |mean| is hundreds of times the deviation.
        mean = wide.mean(space)
        square = (wide * wide).mean(space)
        mean, square = (self._per_group(s, channels) for s in (mean, square))
        variance = jnp.maximum(square - mean * mean, 0.0)
        gain = jax.lax.rsqrt(variance + self.eps) * scale
        shift = bias - mean * gain
        keep = (x.shape[0], *(1 for _ in space), channels)
        y = wide * gain.reshape(keep) + shift.reshape(keep)
        return (nn.silu(y) if self.silu else y).astype(self.dtype)

    def _per_group(self, sums, channels):
        grouped = sums.reshape(-1, self.groups, channels // self.groups).mean(-1, keepdims=True)
        return jnp.broadcast_to(grouped, (*grouped.shape[:2], channels // self.groups)).reshape(
            -1, channels
        )


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, statistics in fp32. x: [..., D]."""

    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],)).astype(jnp.float32)
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(-1, keepdims=True)
        variance = jnp.mean(wide * wide, -1, keepdims=True)
        return (wide * jax.lax.rsqrt(variance + self.eps) * scale + bias).astype(self.dtype)


class RMSNorm(nn.Module):
    """T5's norm: no mean, no bias. x: [..., D]."""

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],)).astype(jnp.float32)
        wide = x.astype(jnp.float32)
        variance = jnp.mean(wide * wide, -1, keepdims=True)
        return (wide * jax.lax.rsqrt(variance + self.eps) * scale).astype(self.dtype)


class FeedForward(nn.Module):
    """up, activation, down; with `gated`, up is multiplied by the activated gate. x: [..., D]."""

    hidden: int
    activation: str = "gelu"
    gated: bool = False
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        act = ACTIVATIONS[self.activation]
        up = nn.Dense(self.hidden, use_bias=self.bias, dtype=self.dtype, name="up")(x)
        if self.gated:
            gate = nn.Dense(self.hidden, use_bias=self.bias, dtype=self.dtype, name="gate")(x)
            hidden = up * act(gate)
        else:
            hidden = act(up)
        return nn.Dense(x.shape[-1], use_bias=self.bias, dtype=self.dtype, name="down")(hidden)


class ResBlock(nn.Module):
    """Two convolutions with an additive time embedding. x: [B, T, F, I] -> [B, T, F, C].

    The VAE uses it without `time`; `times` of the U-Net makes what it adds.
    """

    in_channels: int
    channels: int
    groups: int
    eps: float
    dtype: Any = jnp.float32

    def setup(self):
        norm = {"groups": self.groups, "eps": self.eps, "silu": True, "dtype": self.dtype}
        self.norm_in = GroupNorm(**norm)
        self.conv_in = Conv(self.channels, dtype=self.dtype)
        self.time = nn.Dense(self.channels, dtype=self.dtype)
        self.norm_out = GroupNorm(**norm)
        self.conv_out = Conv(self.channels, dtype=self.dtype)
        if self.in_channels != self.channels:
            self.shortcut = nn.Dense(self.channels, dtype=self.dtype)

    def time_bias(self, embedding):
        """embedding: [S, E] -> [S, C], what `__call__` adds."""
        return self.time(nn.silu(embedding))

    def __call__(self, x, time=None):
        h = self.conv_in(self.norm_in(x))
        if time is not None:
            h = h + time[:, None, None, :]
        h = self.conv_out(self.norm_out(h))
        return h + (x if self.in_channels == self.channels else self.shortcut(x))


def nearest(x, size) -> jax.Array:
    """Nearest-neighbour resampling, index = floor(target * in / out). x: [B, T, F, C]."""
    for axis, target in zip((1, 2), size):
        source = x.shape[axis]
        if target == 2 * source:
            x = jnp.repeat(x, 2, axis)
        elif target != source:
            x = jnp.take(x, np.arange(target) * source // target, axis)
    return x


def timestep_features(timesteps, width: int) -> jax.Array:
    """Cosines then sines at geometric frequencies, fp32. timesteps: [S] -> [S, width]."""
    half = width // 2
    frequencies = jnp.exp(-math.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.asarray(timesteps, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def fast_kernels(params: dict) -> dict:
    """Replaces, in place, the 3x3 kernels of stride 1 by their Winograd transforms (CPU only).

    Narrow convolutions (under 64 channels in or out) stay: they gain nothing.
    """
    for name, value in list(params.items()):
        if isinstance(value, dict):
            if not name.startswith("downsample"):
                fast_kernels(value)
        elif name == "kernel" and value.ndim == 4 and value.shape[:2] == (3, 3):
            if min(value.shape[2:]) >= 64:
                params["winograd"] = jnp.asarray(convolution.winograd_kernel(value), value.dtype)
                del params["kernel"]
    return params
