"""Convolutions by kernels that were transformed when the weights were loaded, for the CPU.

`prepack_kernels` transforms the kernels of a network; `prepacked_conv` and `prepacked_upsampling`
compute with them, in fewer multiplications than the plain kernels need.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.models.kernels.conv_vjp import conv_custom_vjp
from audioldm2_jax.models.kernels.resize import nearest
from audioldm2_jax.models.kernels.stored import arrange_for_gpu
from audioldm2_jax.models.kernels.toom_cook import (
    combine,
    image_of,
    input_tiles,
    interleave,
    tiles_along,
    toom_cook,
)


def prepack_kernels(params: dict) -> dict:
    """A new parameter tree, whose convolutions hold `fast` in place of `kernel` if that is faster.

    For a GPU see `arrange_for_gpu`.

    Other leaves are shared with `params`. Modules named downsample* have strides and keep their
    kernels. Modules named upsample* are `layers.Upsample` with 2-D kernels, and transposed
    convolutions, which keep theirs, with 1-D kernels.
    """
    if backend.current().is_gpu:
        return arrange_for_gpu(params)
    packed = {}
    for name, value in params.items():
        if not isinstance(value, dict) or name.startswith("downsample"):
            packed[name] = value
        elif "kernel" in value:
            packed[name] = _prepacked_layer(name, value)
        else:
            packed[name] = prepack_kernels(value)
    return packed


def _prepacked_layer(name: str, layer: dict) -> dict:
    """The parameters of one layer, {kernel, ...} or {fast, ...}."""
    kernel = layer["kernel"]
    if name.startswith("upsample"):
        fast = prepack_upsampling(kernel) if kernel.ndim == 4 else None
    else:
        fast = prepack_conv(kernel)
    if fast is None:
        return layer
    return {k: v for k, v in layer.items() if k != "kernel"} | {"fast": jnp.asarray(fast)}


def prepack_conv(kernel) -> np.ndarray | None:
    """The kernel for `prepacked_conv` from a plain one of stride 1; None if nothing is gained.

    [3, 3, I, O] becomes [n1, n2, I, O] for tiles of 4x2 outputs, or of 2x2 for large kernels,
    whose images are small. [K, I, O] becomes [7, ceil(K / 4), I, O] if it has at least 7 taps and
    256 channels.
    """
    shape, (library, kernel) = kernel.shape, _numpy_or_jax(kernel)
    if shape[:-2] == (3, 3) and min(shape[2:]) >= 64:
        time = toom_cook(2 if shape[2] * shape[3] > 512 * 512 else 4, 3)[1]
        both = np.kron(time, toom_cook(2, 3)[1]).astype(np.float32)
        return (both @ kernel.reshape(9, -1)).reshape(len(time), 4, *shape[2:])
    if kernel.ndim == 3 and shape[0] >= 7 and min(shape[1:]) >= 256:
        pieces = -(-shape[0] // 4)
        kernel = library.pad(kernel, ((0, 4 * pieces - shape[0]), (0, 0), (0, 0)))
        pieces = kernel.reshape(pieces, 4, *shape[1:])
        return library.einsum("nr,jrio->njio", toom_cook(4, 4)[1].astype(np.float32), pieces)
    return None


def prepack_upsampling(kernel) -> np.ndarray:
    """The kernel for `prepacked_upsampling`: [3, 3, I, O] -> [3, 3, I, O] of transform points."""
    gather = toom_cook(2, 3)[1][[0, 1, 3]]
    both = np.kron(gather, gather).astype(np.float32)
    _, kernel = _numpy_or_jax(kernel)
    return (both @ kernel.reshape(9, -1)).reshape(kernel.shape)


def _numpy_or_jax(kernel):
    """(numpy, the array) to spare compilations; (jax, the tracer) under `eval_shape`."""
    if isinstance(kernel, jax.core.Tracer):
        return jnp, kernel
    return np, np.asarray(kernel, np.float32)


def prepacked_conv(x, fast, *, taps: int = 3, dilation: int = 1, padding=None) -> jax.Array:
    """Convolution of stride 1 by a kernel from `prepack_conv`.

    x: [B, T, F, I] with 3x3 kernels, whose size is kept, or [B, T, I] with `taps` and `dilation`.
    padding: of the latter, ((low, high),); None keeps the size.
    """
    if x.ndim == 4:
        return _conv_2d(x, fast)
    half = taps // 2 * dilation
    return _conv_1d(x, fast, taps, dilation, padding[0] if padding else (half, half))


# Jitted, so that convolutions of one shape are traced and lowered once in a model.
@jax.jit
def _conv_2d(x, fast):
    frames, bins = x.shape[1:3]
    high, wide = fast.shape[0] - 2, fast.shape[1] - 2
    return image_of(_products(input_tiles(x, high, wide), fast), frames, bins)


def _products(tiles, fast):
    """tiles[a][b] @ fast[a, b], as one batched product if there are few rows."""
    batch, rows, cols, width = tiles[0][0].shape
    if batch * rows * cols > 64:
        return [[t @ fast[a, b] for b, t in enumerate(row)] for a, row in enumerate(tiles)]
    flat = jnp.stack([jnp.stack([t.reshape(-1, width) for t in row]) for row in tiles])
    out = jnp.einsum("abti,abio->abto", flat, fast)
    out = out.reshape(*out.shape[:2], batch, rows, cols, -1)
    return [[out[a, b] for b in range(out.shape[1])] for a in range(out.shape[0])]


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _conv_1d(x, fast, taps, dilation, padding):
    """F(4, 4) over pieces of four taps: each transform point is a short convolution over tiles.

    A dilated convolution is `dilation` interleaved plain ones: they become an axis of their own.
    """
    batch, frames, width = x.shape
    low, high = padding
    outputs = frames + low + high - (taps - 1) * dilation
    length, pieces = -(-outputs // dilation), fast.shape[1]
    tiles = -(-length // 4)
    # Output tiles read their own tile, `pieces` - 1 further ones, and one more for the transform.
    total = 4 * (tiles + pieces)
    x = jnp.pad(x, ((0, 0), (low, total * dilation - low - frames), (0, 0)))
    x = x.reshape(batch, total, dilation, width)
    products = [
        conv_custom_vjp(part.reshape(batch, -1, width), fast[n], (1,), ((0, 0),), (dilation,))
        for n, part in enumerate(tiles_along(x, 1, 4, 4))
    ]
    products = [p.reshape(batch, tiles, dilation, -1) for p in products]
    y = jnp.stack([combine(a, products) for a in toom_cook(4, 4)[0]], 2)
    return y.reshape(batch, -1, y.shape[-1])[:, :outputs]


@functools.partial(jax.jit, static_argnums=2)
def prepacked_upsampling(x, fast, size) -> jax.Array:
    """Nearest-neighbour upsampling by two, then the 3x3 convolution, in 9 products of 36.

    x: [B, T, F, I] -> [B, *size, O]; sizes are twice those of x, or one less.

    The input of F(2, 3) is rows (a, b, b, c): its third point is b - b = 0 and is left out.
    """
    if size != (2 * x.shape[1], 2 * x.shape[2]):
        return _conv_2d(nearest(x, size), _all_points(fast))
    tiles = [_repeated(row, 2) for row in _repeated(x, 1)]
    products = _products(tiles, fast)
    outputs = toom_cook(2, 3)[0][:, [0, 1, 3]]
    columns = [[combine(a, row) for a in outputs] for row in products]
    return interleave(columns, outputs)


def _repeated(x, axis):
    """Points 0, 1 and infinity of F(2, 3) for x repeated twice along `axis`."""
    length, pad = x.shape[axis], [(0, 0)] * x.ndim
    pad[axis] = (1, 1)
    wide = jnp.pad(x, pad)
    before = jax.lax.slice_in_dim(wide, 0, length, axis=axis)
    after = jax.lax.slice_in_dim(wide, 2, length + 2, axis=axis)
    rows = toom_cook(2, 3)[2]
    return [combine(rows[n], (before, x, x, after)) for n in (0, 1, 3)]


def _all_points(fast):
    """Adds the point that repeated rows do not need: [3, 3, I, O] -> [4, 4, I, O]."""
    gather = toom_cook(2, 3)[1]
    spread = (gather @ np.linalg.inv(gather[[0, 1, 3]])).astype(np.float32)
    return jnp.einsum("ma,nb,abio->mnio", spread, spread, fast)
