"""The one place that chooses kernels by the backend: XLA's own, or those for the CPU."""

from __future__ import annotations

import jax

from audioldm2_jax import backend
from audioldm2_jax.models.kernels.attention import cpu_attend, cudnn_attend, xla_attend
from audioldm2_jax.models.kernels.conv_vjp import xla_conv
from audioldm2_jax.models.kernels.convolution import (
    cpu_conv,
    cpu_conv_transpose,
    xla_conv_transpose,
)
from audioldm2_jax.models.kernels.dense import cpu_matmul


def attend(query, key, value, *, mask=None, bias=None, scale=None) -> jax.Array:
    """Softmax attention, softmax in fp32. query: [B, L, N, H]; key, value: [B, S, N, H].

    mask: bool, broadcastable to [B, N, L, S], True = keep, a `Prefix` or `KeyLengths`. bias is
    added to the scores. scale: of the query; None is 1/sqrt(H). -> [B, L, N, H]
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    target = backend.current()
    compute = cpu_attend if target.cpu_kernels else cudnn_attend if target.cudnn else xla_attend
    return compute(query, key, value, mask=mask, bias=bias, scale=scale)


def conv(x, kernel, *, strides=None, padding=None, dilation=None, groups=1) -> jax.Array:
    """Convolution, channels last. x: [B, *space, I], kernel: [*window, I, O] -> [B, *space', O].

    padding: a (low, high) pair for each axis; None keeps the size (odd windows). With several
    groups, the kernel has I / groups inputs, as torch's.
    """
    compute = cpu_conv if backend.current().cpu_kernels else xla_conv
    return compute(x, kernel, strides=strides, padding=padding, dilation=dilation, groups=groups)


def conv_transpose(x, kernel, *, stride: int, padding: int) -> jax.Array:
    """Transposed 1-D convolution as torch defines it.

    x: [B, T, I], kernel: [k, I, O] -> [B, T', O] with T' = (T - 1) * stride + k - 2 * padding.
    """
    compute = cpu_conv_transpose if backend.current().cpu_kernels else xla_conv_transpose
    return compute(x, kernel, stride=stride, padding=padding)


def dot_general(x, kernel, dimension_numbers, precision=None, **options) -> jax.Array:
    """`jax.lax.dot_general` of x: [..., I] and kernel: [I, O], as `nn.Dense` calls it."""
    if backend.current().cpu_kernels and not options and precision is None:
        return cpu_matmul(x, kernel)
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision, **options)
