"""How the CPU computes convolutions with plain kernels: the way depends on the kernel's shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.models.kernels import winograd
from audioldm2_jax.models.kernels.conv_vjp import conv_custom_vjp, full_options, xla_conv
from audioldm2_jax.models.kernels.grouped import grouped_conv


def cpu_conv(x, kernel, *, strides=None, padding=None, dilation=None, groups=1) -> jax.Array:
    """As `dispatch.conv`."""
    if (strides, padding, dilation, groups) == (None, None, None, 1):
        if winograd.pays(x, kernel):
            return winograd.winograd_conv(x, kernel)
        if kernel.ndim == 4 and kernel.shape[-1] <= 4:
            return _few_outputs(x, kernel)
    strides, padding, dilation = full_options(kernel, strides, padding, dilation)
    if groups == 1:
        return conv_custom_vjp(x, kernel, strides, padding, dilation)
    if dilation == (1,):
        return grouped_conv(x, kernel, strides[0], padding[0], groups)
    return xla_conv(x, kernel, strides=strides, padding=padding, dilation=dilation, groups=groups)


def cpu_conv_transpose(x, kernel, *, stride: int, padding: int) -> jax.Array:
    """As `dispatch.conv_transpose`: overlap-add.

    One matrix product gives the k outputs of every frame; sums of shifted, stride-long parts of
    them are the result.
    """
    batch, frames, _ = x.shape
    size, width, out = kernel.shape
    parts = -(-size // stride)
    kernel = jnp.pad(kernel, ((0, parts * stride - size), (0, 0), (0, 0)))
    flat = kernel.transpose(1, 0, 2).reshape(width, parts * stride * out)
    y = (x @ flat).reshape(batch, frames, parts, stride * out)
    total = sum(
        jnp.pad(y[:, :, part], ((0, 0), (part, parts - 1 - part), (0, 0))) for part in range(parts)
    )
    total = total.reshape(batch, (frames + parts - 1) * stride, out)
    length = (frames - 1) * stride + size - 2 * padding
    return total[:, padding : padding + length]


def _few_outputs(x, kernel):
    """All taps of a 2-D kernel by one product, then sums of shifted images.

    The library is slow at the gradient of a kernel with few outputs.
    """
    high, wide, width, out = kernel.shape
    flat = kernel.transpose(2, 0, 1, 3).reshape(width, -1)
    parts = (x @ flat).reshape(*x.shape[:3], high, wide, out)
    pads = ((0, 0), (high // 2,) * 2, (wide // 2,) * 2, (0, 0))
    frames, bins = x.shape[1:3]
    return sum(
        jnp.pad(parts[:, :, :, i, j], pads)[:, i : i + frames, j : j + bins]
        for i in range(high)
        for j in range(wide)
    )


def xla_conv_transpose(x, kernel, *, stride: int, padding: int) -> jax.Array:
    """As `dispatch.conv_transpose`: a convolution of the dilated input."""
    edge = kernel.shape[0] - 1 - padding
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1],
        (1,),
        [(edge, edge)],
        lhs_dilation=(stride,),
        dimension_numbers=("NTC", "TIO", "NTC"),
    )
