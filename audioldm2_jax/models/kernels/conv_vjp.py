"""XLA's convolution, and the same with gradients in the layout that its CPU library takes.

XLA brings the convolutions that differentiation makes (batch and channels change places) into the
library's layout outside of loops only; inside a loop, such as one over micro-batches, they would
take ten times as long.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

_LETTERS = "TF"


def full_options(kernel, strides, padding, dilation) -> tuple[tuple, tuple, tuple]:
    """Strides, padding and dilation by axis, with the defaults of `dispatch.conv` filled in."""
    ones = (1,) * (kernel.ndim - 2)
    strides, dilation = tuple(strides or ones), tuple(dilation or ones)
    if padding is None:
        half = [(size - 1) * step // 2 for size, step in zip(kernel.shape, dilation)]
        padding = [(h, h) for h in half]
    return strides, tuple(map(tuple, padding)), dilation


def xla_conv(
    x, kernel, *, strides=None, padding=None, dilation=None, groups=1, input_dilation=None
) -> jax.Array:
    """XLA's convolution with its own gradients; arguments as of `dispatch.conv`."""
    strides, padding, dilation = full_options(kernel, strides, padding, dilation)
    space = _LETTERS[: kernel.ndim - 2]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        lhs_dilation=input_dilation,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_custom_vjp(x, kernel, strides: tuple, padding: tuple, dilation: tuple) -> jax.Array:
    """x: [B, *space, I], kernel: [*window, I, O] -> [B, *space', O].

    padding: a (low, high) pair for each axis.
    """
    return xla_conv(x, kernel, strides=strides, padding=padding, dilation=dilation)


def _forward(x, kernel, strides, padding, dilation):
    return conv_custom_vjp(x, kernel, strides, padding, dilation), (x, kernel)


def _backward(strides, padding, dilation, residuals, slope):
    x, kernel = residuals
    axes = range(kernel.ndim - 2)
    # A window's span beyond its first tap, and the span of the outputs at the inputs' rate.
    reach = [dilation[a] * (kernel.shape[a] - 1) for a in axes]
    spread = [strides[a] * (slope.shape[a + 1] - 1) + 1 for a in axes]
    size, ones = x.shape[1:-1], (1,) * len(axes)
    lows = [reach[a] - padding[a][0] for a in axes]
    pads = [(low, size[a] + reach[a] - spread[a] - low) for a, low in zip(axes, lows)]
    flipped = jnp.flip(kernel, tuple(axes)).swapaxes(-1, -2)
    dx = xla_conv(
        slope, flipped, strides=ones, padding=pads, dilation=dilation, input_dilation=strides
    )
    # Inputs against output gradients: channels are the batch axis, clips are summed over.
    lows = [padding[a][0] for a in axes]
    pads = [(low, reach[a] + spread[a] - size[a] - low) for a, low in zip(axes, lows)]
    inputs, slopes = x.swapaxes(0, -1), jnp.moveaxis(slope, 0, -2)
    dkernel = xla_conv(inputs, slopes, strides=dilation, padding=pads, dilation=strides)
    return dx, jnp.moveaxis(dkernel, 0, -2)


conv_custom_vjp.defvjp(_forward, _backward)
