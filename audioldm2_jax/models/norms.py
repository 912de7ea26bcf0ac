"""Normalisation layers; their statistics are fp32."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax import backend


class GroupNorm(nn.Module):
    """Group normalisation over all axes but the first. x: [B, ..., C] -> the same shape.

    silu: whether SiLU follows.
    """

    groups: int = 32
    eps: float = 1e-5
    silu: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, offset=None):
        """offset: [B or 1, C], added to x first."""
        channels, keep = x.shape[-1], (-1, *(1,) * (x.ndim - 2), x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, (channels,)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(jnp.float32)
        if offset is not None and not backend.current().is_gpu:
            x, offset = x + offset.reshape(keep), None
        wide = x.astype(jnp.float32)
        space = tuple(range(1, x.ndim - 1))
        # Sums by channel first, then by group: XLA fuses both sums into one pass over x. E[x^2] -
        # E[x]^2 loses accuracy only where |mean| is hundreds of times the deviation.
        mean = wide.mean(space)
        square = (wide * wide).mean(space)
        if offset is None:
            mean, square = (self._per_group(s) for s in (mean, square))
        else:
            # By the statistics: a GPU would write the sum to memory and read it twice.
            offset = offset.astype(jnp.float32)
            sums = jnp.stack([mean + offset, square + offset * (2 * mean + offset)])
            mean, square = self._per_group(sums)
        variance = jnp.maximum(square - mean * mean, 0.0)
        gain = jax.lax.rsqrt(variance + self.eps) * scale
        shift = bias - (mean if offset is None else mean - offset) * gain
        if backend.current().is_gpu:
            # One kernel for both; otherwise XLA computes the means of groups in one of their own.
            gain, shift = jax.lax.optimization_barrier((gain, shift))
        y = wide * gain.reshape(keep) + shift.reshape(keep)
        return (nn.silu(y) if self.silu else y).astype(self.dtype)

    def _per_group(self, sums):
        """[..., C] -> [..., C], each channel its group's mean."""
        grouped = sums.reshape(*sums.shape[:-1], self.groups, -1)
        if backend.current().is_gpu:
            mean = _mean_by_slices(grouped)
        else:
            mean = grouped.mean(-1, keepdims=True)
        return jnp.broadcast_to(mean, grouped.shape).reshape(sums.shape)


def _mean_by_slices(x):
    """[..., R] -> [..., 1] without a reduction, which is a kernel of its own: slices are fused."""
    size = x.shape[-1]
    while x.shape[-1] % 2 == 0:
        x = x[..., ::2] + x[..., 1::2]
    return sum(x[..., i : i + 1] for i in range(x.shape[-1])) / size


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis. x: [..., D] -> [..., D].

    start: the initial scale.
    """

    eps: float = 1e-5
    dtype: Any = jnp.float32
    start: float = 1.0

    @nn.compact
    def __call__(self, x):
        first = nn.initializers.constant(self.start)
        scale = self.param("scale", first, (x.shape[-1],)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],)).astype(jnp.float32)
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(-1, keepdims=True)
        variance = jnp.mean(wide * wide, -1, keepdims=True)
        return (wide * jax.lax.rsqrt(variance + self.eps) * scale + bias).astype(self.dtype)


class RMSNorm(nn.Module):
    """T5's norm: no mean, no bias. x: [..., D] -> [..., D]."""

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],)).astype(jnp.float32)
        wide = x.astype(jnp.float32)
        variance = jnp.mean(wide * wide, -1, keepdims=True)
        return (wide * jax.lax.rsqrt(variance + self.eps) * scale).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, in fp32. x: [..., C].

    stored: whether mean and variance are parameters, which normalise unless `train`; without them
    the batch's own always do, as in a network that is never used outside of training.
    """

    stored: bool = True
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x, train: bool = False):
        """-> (normalised, the batch's {mean, variance}, by which the caller updates the stored).

        The dictionary is empty where stored statistics normalise; its variance is unbiased.
        """
        shape, statistics = (x.shape[-1],), {}
        x = x.astype(jnp.float32)
        if self.stored:
            mean = self.param("mean", nn.initializers.zeros, shape).astype(jnp.float32)
            variance = self.param("variance", nn.initializers.ones, shape).astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape).astype(jnp.float32)
        if train or not self.stored:
            axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
            mean, variance = x.mean(axes), x.var(axes)
            statistics = {"mean": mean, "variance": variance * count / max(1, count - 1)}
        return (x - mean) * (scale * jax.lax.rsqrt(variance + self.eps)) + bias, statistics
