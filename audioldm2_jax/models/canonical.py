"""Convolutions on the CPU whose gradients are laid out as its library takes them.

XLA turns the convolutions that differentiation makes (batch and channels change places) into the
library's layout only outside of loops; in the body of one, as micro-batches are, they would run ten
times as long.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

_LETTERS = "TF"


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def canonical_conv(x, kernel, strides: tuple, padding: tuple, dilation: tuple) -> jax.Array:
    """x: [B, *space, I], kernel: [*window, I, O] -> [B, *space', O].

    padding: a (low, high) pair for each axis.
    """
    return plain_conv(x, kernel, strides, padding, dilation)


def plain_conv(x, kernel, strides, padding, dilation, *, input_dilation=None, groups=1):
    """The library's convolution, channels last, with the library's own gradients."""
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


def _forward(x, kernel, strides, padding, dilation):
    return canonical_conv(x, kernel, strides, padding, dilation), (x, kernel)


def _backward(strides, padding, dilation, kept, slope):
    x, kernel = kept
    axes = range(kernel.ndim - 2)
    # What a window spans beyond its first tap, and the outputs' places among the inputs.
    reach = [dilation[a] * (kernel.shape[a] - 1) for a in axes]
    spread = [strides[a] * (slope.shape[a + 1] - 1) + 1 for a in axes]
    size, ones = x.shape[1:-1], (1,) * len(axes)
    lows = [reach[a] - padding[a][0] for a in axes]
    pads = [(low, size[a] + reach[a] - spread[a] - low) for a, low in zip(axes, lows)]
    turned = jnp.flip(kernel, tuple(axes)).swapaxes(-1, -2)
    back = plain_conv(slope, turned, ones, pads, dilation, input_dilation=strides)
    # The inputs against the slopes: channels are the batch, clips what is summed over.
    lows = [padding[a][0] for a in axes]
    pads = [(low, reach[a] + spread[a] - size[a] - low) for a, low in zip(axes, lows)]
    inputs, slopes = x.swapaxes(0, -1), jnp.moveaxis(slope, 0, -2)
    change = plain_conv(inputs, slopes, dilation, pads, strides)
    return back, jnp.moveaxis(change, 0, -2)


canonical_conv.defvjp(_forward, _backward)
