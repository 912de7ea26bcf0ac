"""3x3 convolutions of training on the CPU: plain kernels, transformed at every call.

Their gradients are convolutions of the same kind, and products of tiles.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from audioldm2_jax.models.kernels.toom_cook import (
    combine,
    image_of,
    input_tiles,
    output_tiles,
    toom_cook,
)


def pays(x, kernel) -> bool:
    """Whether transforming the kernel at every call saves time, gradients included.

    For small images, transforming the kernel is most of the work.
    """
    wide = kernel.shape[:2] == (3, 3) and min(kernel.shape[2:]) >= 64
    return wide and x.dtype == jnp.float32 and math.prod(x.shape[:-1]) >= 256


@jax.custom_vjp
def winograd_conv(x, kernel):
    """3x3, stride 1, same size. x: [B, T, F, I], kernel: [3, 3, I, O] -> [B, T, F, O]."""
    return _tiled_conv(x, kernel, False)


def _forward(x, kernel):
    return winograd_conv(x, kernel), (x, kernel)


@jax.jit
def _backward(residuals, slope):
    x, kernel = residuals
    # Without the barrier, XLA fuses them with the products below and writes them transposed.
    inputs = jax.lax.optimization_barrier(input_tiles(x, 4, 2))
    outputs = output_tiles(slope, 4, 2)
    products = [
        [a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1]) for a, b in zip(row, other)]
        for row, other in zip(inputs, outputs)
    ]
    down, across = toom_cook(4, 3)[1].T, toom_cook(2, 3)[1].T
    columns = [[combine(b, row) for row in products] for b in across]
    dkernel = jnp.stack([jnp.stack([combine(a, column) for column in columns]) for a in down])
    return _tiled_conv(slope, kernel, True), dkernel


@functools.partial(jax.jit, static_argnums=2)
def _tiled_conv(x, kernel, transposed):
    """F(4x2, 3x3) by a plain kernel, or by its transpose, which gives the gradient of x."""
    tiles, points = input_tiles(x, 4, 2), _kernel_tiles(kernel, transposed)
    side = 1 if transposed else 0
    products = [
        [jax.lax.dot_general(t, p, (((3,), (side,)), ((), ()))) for t, p in zip(row, other)]
        for row, other in zip(tiles, points)
    ]
    return image_of(products, *x.shape[1:3])


def _kernel_tiles(kernel, transposed):
    """G g for tiles of 4x2 outputs: arrays [I, O] by point."""
    order = (2, 1, 0) if transposed else (0, 1, 2)
    taps = [[kernel[i, j] for j in order] for i in order]
    down, across = toom_cook(4, 3)[1], toom_cook(2, 3)[1]
    rows = [[combine(b, row) for b in across] for row in taps]
    return [[combine(a, column) for column in zip(*rows)] for a in down]


winograd_conv.defvjp(_forward, _backward)
