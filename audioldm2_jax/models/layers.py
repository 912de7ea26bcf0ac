"""Layers shared by the models: convolutions, norms, feed-forwards and time embeddings."""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels import dispatch
from audioldm2_jax.models.kernels.prepacked import prepacked_conv, prepacked_upsampling
from audioldm2_jax.models.kernels.resize import nearest
from audioldm2_jax.models.norms import GroupNorm


def gelu(x):
    """Exact, as torch's default; flax's own default is the tanh form.

    In fp32 by erf: erfc, whose small values narrower types need, takes the CPU longer.
    """
    if x.dtype != jnp.float32:
        return nn.gelu(x, approximate=False)
    return 0.5 * x * (1 + jax.lax.erf(x * 2**-0.5))


ACTIVATIONS = {
    "relu": nn.relu,
    "silu": nn.silu,
    "gelu": gelu,
    "gelu_new": lambda x: nn.gelu(x, approximate=True),
}


REMAT = ("none", "products", "blocks")


def maybe_remat(module, remat: str):
    """The module's class as one whose inner values training computes again for the gradients.

    none: all are kept; products: of a block its input, and what its convolutions and matrix
    products give (not attention's scores); blocks: its input alone.
    """
    return module if remat == "none" else _rematerialised(module, remat)


@functools.cache
def _rematerialised(module, remat):
    dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable

    def products(primitive, *args, **kwargs):
        # The CPU's products and convolutions are functions with gradients of their own.
        kept = ("conv_general_dilated", "custom_vjp_call")
        return primitive.name in kept or dots(primitive, *args, **kwargs)

    return nn.remat(module, policy=products if remat == "products" else None)


class Conv(nn.Module):
    """Convolution over the window's axes, channels last; see `dispatch.conv` for the arguments.

    Parameters hold `kernel` [*window, I, O] or, after `prepack_kernels`, its transform `fast`.
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
        if self.has_variable("params", "fast"):
            fast = self.get_variable("params", "fast").astype(self.dtype)
            dilation = (self.dilation or (1,))[0]
            y = prepacked_conv(x, fast, taps=self.window[0], dilation=dilation)
            return y + bias
        shape = (*self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        y = dispatch.conv(
            x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation
        )
        return y + bias


class Upsample(nn.Module):
    """Nearest-neighbour resampling to `size`, then a 3x3 convolution. x: [B, T, F, C]."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, size):
        x = x.astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        if self.has_variable("params", "fast"):
            fast = self.get_variable("params", "fast").astype(self.dtype)
            return prepacked_upsampling(x, fast, tuple(size)) + bias
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        return dispatch.conv(nearest(x, size), kernel) + bias


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
        return dispatch.conv_transpose(x, kernel, stride=self.stride, padding=self.padding) + bias


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
        up = Dense(self.hidden, use_bias=self.bias, dtype=self.dtype, name="up")(x)
        if self.gated:
            gate = Dense(self.hidden, use_bias=self.bias, dtype=self.dtype, name="gate")(x)
            hidden = up * act(gate)
        else:
            hidden = act(up)
        return Dense(x.shape[-1], use_bias=self.bias, dtype=self.dtype, name="down")(hidden)


class ResBlock(nn.Module):
    """Two convolutions with an additive time embedding. x: [B, T, F, I] -> [B, T, F, C].

    The VAE uses it without `time`; `times` of the U-Net makes what it adds. If `filmed`,
    the layer that projects the time embedding has a second half for the conditioning vector's.
    """

    in_channels: int
    channels: int
    groups: int
    eps: float
    filmed: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        norm = {"groups": self.groups, "eps": self.eps, "silu": True, "dtype": self.dtype}
        self.norm_in = GroupNorm(**norm)
        self.conv_in = Conv(self.channels, dtype=self.dtype)
        self.time = Dense(self.channels, dtype=self.dtype)
        if self.filmed:
            self.film = Dense(self.channels, use_bias=False, dtype=self.dtype)
        self.norm_out = GroupNorm(**norm)
        self.conv_out = Conv(self.channels, dtype=self.dtype)
        if self.in_channels != self.channels:
            self.shortcut = Dense(self.channels, dtype=self.dtype)

    def time_bias(self, embedding):
        """embedding: [S, E] -> [S, C], what `__call__` adds."""
        return self.time(nn.silu(embedding))

    def film_bias(self, embedding):
        """embedding: [B, E] -> [B, C], added to `time_bias`."""
        return self.film(nn.silu(embedding))

    def __call__(self, x, time=None):
        h = self.conv_in(self.norm_in(x))
        if time is not None:
            h = h + time[:, None, None, :]
        h = self.conv_out(self.norm_out(h))
        return h + (x if self.in_channels == self.channels else self.shortcut(x))


def timestep_features(timesteps, width: int) -> jax.Array:
    """Cosines then sines at geometric frequencies, fp32. timesteps: [S] -> [S, width]."""
    half = width // 2
    frequencies = jnp.exp(-math.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.asarray(timesteps, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
