"""Layers that several models use: convolutions, feed-forwards, residual blocks, time embeddings."""

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
from audioldm2_jax.models.kernels.stored import turn_back
from audioldm2_jax.models.norms import GroupNorm


def gelu(x):
    """Exact GELU, torch's default; flax's default is the tanh approximation.

    By erf in fp32: flax's erfc costs a GPU a second kernel, and more time on the CPU.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1 + jax.lax.erf(wide * 2**-0.5))).astype(x.dtype)


ACTIVATIONS = {
    "relu": nn.relu,
    "silu": nn.silu,
    "gelu": gelu,
    "gelu_new": lambda x: nn.gelu(x, approximate=True),
}


REMAT = ("none", "products", "blocks")


def maybe_remat(module, remat: str):
    """Wraps a module's class in `nn.remat` (rematerialisation), as `remat` says.

    "none": no wrapping; "products": the backward pass keeps a block's input and the results of its
    convolutions and matrix products (not attention's scores); "blocks": its input alone.
    """
    return module if remat == "none" else _remat(module, remat)


@functools.cache
def _remat(module, remat):
    dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable

    def products(primitive, *args, **kwargs):
        # The CPU's products and convolutions are custom_vjp functions.
        saved = ("conv_general_dilated", "custom_vjp_call")
        return primitive.name in saved or dots(primitive, *args, **kwargs)

    return nn.remat(module, policy=products if remat == "products" else None)


class Conv(nn.Module):
    """Convolution; see `dispatch.conv` for the arguments. x: [B, *space, I].

    Parameters hold `kernel` [*window, I, O] or, after `prepack_kernels`, its transform `fast` or
    `turned`.
    """

    features: int
    window: tuple[int, ...] = (3, 3)
    strides: tuple[int, ...] | None = None
    padding: tuple[tuple[int, int], ...] | None = None
    dilation: tuple[int, ...] | None = None
    dtype: Any = jnp.float32
    use_bias: bool = True

    def __call__(self, x):
        return self.convolve(x, self.padding)

    @nn.compact
    def convolve(self, x, padding):
        """The same with a padding that depends on x."""
        x, bias = x.astype(self.dtype), 0
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        if self.has_variable("params", "fast"):
            fast = self.get_variable("params", "fast").astype(self.dtype)
            dilation = (self.dilation or (1,))[0]
            y = prepacked_conv(x, fast, taps=self.window[0], dilation=dilation, padding=padding)
            return y + bias
        kernel = _kernel(self, (*self.window, x.shape[-1], self.features))
        y = dispatch.conv(x, kernel, strides=self.strides, padding=padding, dilation=self.dilation)
        return y + bias


def _kernel(module, shape):
    """The module's `kernel` [*window, I, O], or what `turned` holds."""
    if module.has_variable("params", "turned"):
        return turn_back(module.get_variable("params", "turned")).astype(module.dtype)
    kernel = module.param("kernel", nn.initializers.lecun_normal(), shape)
    return kernel.astype(module.dtype)


class Upsample(nn.Module):
    """Nearest-neighbour resampling and a 3x3 convolution: [B, T, F, I] -> [B, *size, O]."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, size):
        x = x.astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        if self.has_variable("params", "fast"):
            fast = self.get_variable("params", "fast").astype(self.dtype)
            return prepacked_upsampling(x, fast, tuple(size)) + bias
        kernel = _kernel(self, (3, 3, x.shape[-1], self.features))
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
    """Two-layer MLP, x: [..., D] -> [..., D]; if `gated`, `up` is multiplied by act(`gate`).

    Parameters hold both or, after `prepack_kernels`, `up_gate`.
    """

    hidden: int
    activation: str = "gelu"
    gated: bool = False
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        act = ACTIVATIONS[self.activation]
        dense = functools.partial(Dense, use_bias=self.bias, dtype=self.dtype)
        if self.has_variable("params", "up_gate"):
            up, gate = jnp.split(dense(2 * self.hidden, name="up_gate")(x), 2, -1)
        else:
            up = dense(self.hidden, name="up")(x)
            gate = dense(self.hidden, name="gate")(x) if self.gated else None
        hidden = act(up) if gate is None else up * act(gate)
        return dense(x.shape[-1], name="down")(hidden)


class ResBlock(nn.Module):
    """Two convolutions with an additive time embedding. x: [B, T, F, I] -> [B, T, F, C].

    The VAE uses it without `time`. If `filmed`, a second projection is for the embedding of a
    conditioning vector, AudioLDM's FiLM.
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
        """embedding: [S, E] -> [S, C], the `time` of `__call__`."""
        return self.time(nn.silu(embedding))

    def film_bias(self, embedding):
        """embedding: [B, E] -> [B, C], to add to `time_bias`."""
        return self.film(nn.silu(embedding))

    def __call__(self, x, time=None):
        h = self.conv_in(self.norm_in(x))
        h = self.conv_out(self.norm_out(h, time))
        return h + (x if self.in_channels == self.channels else self.shortcut(x))


def timestep_features(timesteps, width: int) -> jax.Array:
    """Sinusoidal embedding, cosines first, fp32. timesteps: [S] -> [S, width]."""
    half = width // 2
    frequencies = jnp.exp(-math.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.asarray(timesteps, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
