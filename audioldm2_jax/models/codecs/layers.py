"""Layers of neural audio codecs, whole clips at once or step by step.

A layer's `step(x, state)` takes the frames that follow `state` and gives what the whole pass gives
for them, with the state behind them. Only causal layers padded by zeros have one.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.kernels import dispatch
from audioldm2_jax.models.layers import Conv
from audioldm2_jax.models.norms import GroupNorm

PADDINGS = ("zero", "reflect", "edge")


def pad_time(x, low: int, high: int, mode: str) -> jax.Array:
    """x: [B, T, C] -> [B, low + T + high, C]. mode: one of `PADDINGS`.

    A clip too short to be reflected is first lengthened by zeros at its end, as EnCodec does.
    """
    if mode == "zero":
        return jnp.pad(x, ((0, 0), (low, high), (0, 0)))
    if mode == "edge":
        return jnp.pad(x, ((0, 0), (low, high), (0, 0)), "edge")
    extra = max(0, max(low, high) - x.shape[1] + 1)
    x = jnp.pad(x, ((0, 0), (0, extra), (0, 0)))
    x = jnp.pad(x, ((0, 0), (low, high), (0, 0)), "reflect")
    return x[:, : x.shape[1] - extra]


class Conv1d(Conv):
    """Convolution over time. x: [B, T, I] -> [B, ceil(T / stride), O].

    window, strides, dilation: tuples of one number. causal: all padding is before the clip, but
    what fills the last stride; otherwise half of it, rounded up. mode: see `pad_time`. group_norm:
    one group's norm follows. Reference: transformers' EncodecConv1d and MimiConv1d; for whole
    strides also DAC's.
    """

    causal: bool = True
    mode: str = "zero"
    group_norm: bool = False

    def __call__(self, x):
        low, high = self._padding(x.shape[1])
        if self.mode == "zero":
            return self._normed(x, ((low, high),))
        return self._normed(pad_time(x, low, high, self.mode), ((0, 0),))

    def initial(self, batch: int, channels: int) -> jax.Array:
        """The state before the first frame of an input with these channels: [B, reach, I]."""
        return jnp.zeros((batch, self.reach, channels), self.dtype)

    def step(self, x, state):
        """x: [B, T, I], T a multiple of the stride -> (y, state), as the module says."""
        assert self.causal and self.mode == "zero" and not self.group_norm
        assert x.shape[1] % self.stride == 0, x.shape
        x = jnp.concatenate([state, x.astype(self.dtype)], 1)
        return self._normed(x, ((0, 0),)), x[:, x.shape[1] - self.reach :]

    @property
    def stride(self) -> int:
        """Frames of the input for one of the output."""
        return (self.strides or (1,))[0]

    @property
    def reach(self) -> int:
        """Frames before the present stride that an output depends on."""
        return (self.window[0] - 1) * (self.dilation or (1,))[0] + 1 - self.stride

    def _padding(self, frames):
        extra, high = -frames % self.stride, 0 if self.causal else self.reach // 2
        return self.reach - high, high + extra

    @nn.compact
    def _normed(self, x, padding):
        y = self.convolve(x, padding)
        return GroupNorm(1, dtype=self.dtype, name="norm")(y) if self.group_norm else y


class ConvTranspose1d(nn.Module):
    """Transposed convolution over time. x: [B, T, I] -> [B, T * stride, O].

    causal: the share `trim_right` of what exceeds T * stride is cut at the end, the rest at the
    start; otherwise half at the end, rounded down. depthwise: channels do not mix, O = I. The
    kernel is [size, I, O], depthwise [size, I]. group_norm: one group's norm before the cut.
    Reference: transformers' EncodecConvTranspose1d; of DAC the same, with causal=False.
    """

    features: int
    size: int
    stride: int
    causal: bool = True
    trim_right: float = 1.0
    depthwise: bool = False
    use_bias: bool = True
    group_norm: bool = False
    dtype: Any = jnp.float32

    def __call__(self, x):
        excess = self.size - self.stride
        y = self._finish(x, None)[0]
        high = math.ceil(excess * self.trim_right) if self.causal else excess // 2
        return y[:, excess - high : y.shape[1] - high]

    def initial(self, batch: int, channels: int) -> jax.Array:
        """The state before the first frame: [B, size - stride, O], whatever x's channels are."""
        return jnp.zeros((batch, self.size - self.stride, self.features), self.dtype)

    def step(self, x, state):
        """x: [B, T, I] -> (y [B, T * stride, O], state), as the module says.

        The state is what earlier frames add to outputs yet to come.
        """
        assert self.causal and self.trim_right == 1.0 and not self.group_norm
        y, tail = self._finish(x, state)
        return y[:, : x.shape[1] * self.stride], tail

    @nn.compact
    def _finish(self, x, state):
        """(all outputs that x reaches, those beyond T * stride before the bias)."""
        shape = (self.size, x.shape[-1], *(() if self.depthwise else (self.features,)))
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.depthwise:
            y = _depthwise_transpose(x, kernel, self.stride)
        else:
            y = dispatch.conv_transpose(x, kernel, stride=self.stride, padding=0)
        if state is not None:
            y = y.at[:, : state.shape[1]].add(state)
        tail = y[:, x.shape[1] * self.stride :]
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)
        if self.group_norm:
            y = GroupNorm(1, dtype=self.dtype, name="norm")(y)
        return y, tail


def _depthwise_transpose(x, kernel, stride: int):
    """x: [B, T, C], kernel: [k, C] -> [B, (T - 1) * stride + k, C]."""
    return overlap_add(x[:, :, None] * kernel, stride)


def overlap_add(pieces, stride: int) -> jax.Array:
    """Sum of pieces that begin `stride` apart: [B, N, size, C] -> [B, (N - 1) stride + size, C]."""
    batch, count, size, width = pieces.shape
    parts = -(-size // stride)
    pieces = jnp.pad(pieces, ((0, 0), (0, 0), (0, parts * stride - size), (0, 0)))
    pieces = pieces.reshape(batch, count, parts, stride, width)
    total = sum(
        jnp.pad(pieces[:, :, i], ((0, 0), (i, parts - 1 - i), (0, 0), (0, 0))) for i in range(parts)
    )
    return total.reshape(batch, -1, width)[:, : (count - 1) * stride + size]


def elu(x):
    """x for x > 0, exp(x) - 1 below."""
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


# Coefficients of r^3, r^5, r^7, r^9 in sin(r), a least-squares fit for |r| <= pi / 2; the error is
# below 3e-8.
_SINE = (-0.16666666, 0.00833324234, -0.000198227615, 2.63481579e-06)
# pi in two numbers, the first of few bits, so that its multiples are exact.
_PI = (3.140625, 0.0009676535897932795)


def sine_squared(x) -> jax.Array:
    """sin(x)^2 in fp32, to 1e-7 for |x| up to 1000.

    Its period is half of the sine's, and a polynomial within it takes the CPU a quarter of the
    sine's time.
    """
    turns = jnp.round(x * (1 / math.pi))
    r = x - turns * _PI[0] - turns * _PI[1]
    s = r * r
    series = _SINE[3]
    for coefficient in _SINE[2::-1]:
        series = series * s + coefficient
    return jnp.square(r + r * s * series)


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, alpha by channel (arXiv 2006.08195). x: [B, T, C]."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        alpha = self.param("alpha", nn.initializers.ones, (x.shape[-1],)).astype(jnp.float32)
        wide = x.astype(jnp.float32)
        return (wide + sine_squared(alpha * wide) / (alpha + 1e-9)).astype(self.dtype)
