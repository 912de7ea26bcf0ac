"""The one seam for convolutions: how each is computed on the backend at hand.

`conv` and `conv_transpose` take plain kernels on any backend. On the CPU, kernels prepared once at
load time (`fast_kernel`, `fast_upsampling_kernel`) cost fewer multiplications: `fast_conv` and
`fast_upsampling` are Toom-Cook convolutions (Winograd; Lavin and Gray, arXiv 1509.09308). Training
has plain kernels: there `conv` transforms them on the way, and its gradients are such convolutions
too.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.models.canonical import canonical_conv, plain_conv
from audioldm2_jax.models.grouped import grouped_conv

# Evaluation points beside infinity for m + r - 1 products; those of six keep fp32's rounding least
# (Barabasz et al., arXiv 1803.10986).
_POINTS = {4: (0, 1, -1), 6: (0, 1, -1, 0.5, -2), 7: (0, 1, -1, 2, -2, 0.5)}


def conv(x, kernel, *, strides=None, padding=None, dilation=None, groups=1) -> jax.Array:
    """Convolution, channels last. x: [B, *space, I], kernel: [*window, I, O] -> [B, *space', O].

    `padding` is a (low, high) pair for each axis; None keeps the size (odd windows). Of several
    groups, as torch's, the kernel has I / groups inputs.
    """
    space = kernel.ndim - 2
    on_cpu = backend.current().cpu_kernels
    if (strides, padding, dilation, groups) == (None, None, None, 1) and on_cpu:
        if _is_transformed(x, kernel):
            return _trained_conv(x, kernel)
        if space == 2 and kernel.shape[-1] <= 4:
            return _few_outputs(x, kernel)
    strides, dilation = strides or (1,) * space, dilation or (1,) * space
    if padding is None:
        half = [(size - 1) * step // 2 for size, step in zip(kernel.shape, dilation)]
        padding = [(h, h) for h in half]
    if groups > 1 and dilation == (1,) and on_cpu:
        return grouped_conv(x, kernel, strides[0], padding[0], groups)
    if groups == 1 and on_cpu:
        return canonical_conv(x, kernel, tuple(strides), tuple(map(tuple, padding)), dilation)
    return plain_conv(x, kernel, strides, padding, dilation, groups=groups)


def conv_transpose(x, kernel, *, stride: int, padding: int) -> jax.Array:
    """Transposed 1-D convolution as torch defines it.

    x: [B, T, I], kernel: [k, I, O] -> [B, T', O] with T' = (T - 1) * stride + k - 2 * padding.
    """
    if backend.current().cpu_kernels:
        return _overlap_add(x, kernel, stride, padding)
    edge = kernel.shape[0] - 1 - padding
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1],
        (1,),
        [(edge, edge)],
        lhs_dilation=(stride,),
        dimension_numbers=("NTC", "TIO", "NTC"),
    )


def _overlap_add(x, kernel, stride, padding):
    """Every frame's k outputs by one matrix product, then shifted sums of stride-long parts."""
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


@functools.cache
def toom_cook(outputs: int, taps: int):
    """Matrices (A, G, B) of F(m, r): m outputs of an r-tap correlation y = A ((G g) * (B d)).

    A: [m, n], G: [n, r], B: [n, n] for n = m + r - 1 products, float64.
    """
    n = outputs + taps - 1
    points = np.array(_POINTS[n], float)

    def evaluate(degree):
        rows = points[:, None] ** np.arange(degree)
        return np.concatenate([rows, np.eye(degree)[-1:]])

    # Interpolation of a product's n coefficients, transposed: a correlation.
    gather, inputs = evaluate(taps), np.linalg.inv(evaluate(n)).T
    # Whole numbers on the side of the inputs, fractions on the kernel's, which is prepared once.
    nonzero = np.where(np.abs(inputs) > 1e-9, np.abs(inputs), np.inf).min(1, keepdims=True)
    return evaluate(outputs).T, gather * nonzero, np.round(inputs / nonzero, 9)


def _combine(row, parts):
    """Sum of coefficient * part, without the zeros."""
    total = None
    for c, part in zip(row, parts):
        if abs(c) > 1e-9:
            term = part if c == 1 else -part if c == -1 else part * jnp.asarray(c, part.dtype)
            total = term if total is None else total + term
    return total


def _tiles(x, axis, outputs, taps):
    """B d along `axis`, of length (tiles + 1) * outputs: n arrays of length tiles."""
    tiles = x.shape[axis] // outputs - 1
    split = x.reshape(*x.shape[:axis], tiles + 1, outputs, *x.shape[axis + 1 :])
    phases = [jax.lax.index_in_dim(split, i, axis + 1, keepdims=False) for i in range(outputs)]
    parts = [jax.lax.slice_in_dim(p, 0, tiles, axis=axis) for p in phases]
    parts += [jax.lax.slice_in_dim(p, 1, tiles + 1, axis=axis) for p in phases[: taps - 1]]
    return [_combine(row, parts) for row in toom_cook(outputs, taps)[2]]


def fast_kernel(kernel) -> np.ndarray | None:
    """What `fast_conv` takes for a plain kernel of stride 1, or None where it would gain nothing.

    [3, 3, I, O] becomes [n1, n2, I, O] for tiles of 4x2 outputs, or 2x2 where the kernel outweighs
    the small images it meets; [K, I, O] from 7 taps and 256 channels on becomes
    [7, ceil(K / 4), I, O].
    """
    shape, (library, kernel) = kernel.shape, _library(kernel)
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


def fast_conv(x, fast, *, taps: int = 3, dilation: int = 1) -> jax.Array:
    """Convolution of stride 1 that keeps the size, by a kernel from `fast_kernel`.

    x: [B, T, F, I] with 3x3 kernels, or [B, T, I] with `taps` and `dilation`.
    """
    return _conv_2d(x, fast) if x.ndim == 4 else _conv_1d(x, fast, taps, dilation)


# Jitted, so that convolutions of one shape are traced and lowered once in a model.
@jax.jit
def _conv_2d(x, fast):
    frames, bins = x.shape[1:3]
    high, wide = fast.shape[0] - 2, fast.shape[1] - 2
    return _image(_products(_input_tiles(x, high, wide), fast), frames, bins)


def _input_tiles(x, high, wide):
    """B d for tiles of high x wide outputs: arrays [B, rows, cols, I] by point."""
    frames, bins = x.shape[1:3]
    rows, cols = -(-frames // high), -(-bins // wide)
    padding = (
        (0, 0),
        (1, (rows + 1) * high - frames - 1),
        (1, (cols + 1) * wide - bins - 1),
        (0, 0),
    )
    by_row = _tiles(jnp.pad(x, padding), 1, high, 3)
    return [_tiles(row, 2, wide, 3) for row in by_row]


def _products(tiles, fast):
    """tiles[a][b] @ fast[a, b]. Few rows: one batched product, so that kernels stream through."""
    batch, rows, cols, width = tiles[0][0].shape
    if batch * rows * cols > 64:
        return [[t @ fast[a, b] for b, t in enumerate(row)] for a, row in enumerate(tiles)]
    flat = jnp.stack([jnp.stack([t.reshape(-1, width) for t in row]) for row in tiles])
    out = jnp.einsum("abti,abio->abto", flat, fast)
    out = out.reshape(*out.shape[:2], batch, rows, cols, -1)
    return [[out[a, b] for b in range(out.shape[1])] for a in range(out.shape[0])]


def _image(products, frames, bins):
    """products[a][b] of the tiles' points to the image: A along both axes, and cut to size."""
    down, across = (toom_cook(len(points) - 2, 3)[0] for points in (products, products[0]))
    columns = [[_combine(a, row) for a in across] for row in products]
    return _interleave(columns, down)[:, :frames, :bins]


def _interleave(columns, down):
    """columns[a][j] to the image: A along time, then outputs of tiles beside each other."""
    image = [
        jnp.stack([_combine(a, [row[j] for row in columns]) for j in range(len(columns[0]))], 3)
        for a in down
    ]
    image = jnp.stack(image, 2)
    batch, rows, high, cols, wide, width = image.shape
    return image.reshape(batch, rows * high, cols * wide, width)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _conv_1d(x, fast, taps, dilation):
    """F(4, 4) over pieces of four taps: each transform point is a short convolution over tiles.

    A dilated convolution is `dilation` interleaved plain ones: they become an axis of their own.
    """
    batch, frames, width = x.shape
    length, pieces = -(-frames // dilation), fast.shape[1]
    tiles, half = -(-length // 4), taps // 2
    # Output tiles read their own tile, `pieces` - 1 further ones, and one more for the transform.
    total = 4 * (tiles + pieces)
    x = jnp.pad(x, ((0, 0), (half * dilation, (total - half) * dilation - frames), (0, 0)))
    x = x.reshape(batch, total, dilation, width)
    products = [
        conv(part.reshape(batch, -1, width), fast[n], dilation=(dilation,), padding=[(0, 0)])
        for n, part in enumerate(_tiles(x, 1, 4, 4))
    ]
    products = [p.reshape(batch, tiles, dilation, -1) for p in products]
    y = jnp.stack([_combine(a, products) for a in toom_cook(4, 4)[0]], 2)
    return y.reshape(batch, -1, y.shape[-1])[:, :frames]


def _few_outputs(x, kernel):
    """All taps of a 2-D kernel by one product, then shifted sums: the library's convolution takes
    long for the gradient of so narrow a kernel.
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


def _is_transformed(x, kernel) -> bool:
    """Whether the CPU gains by transforming the kernel at every call, also for the gradients: of
    small images the kernel is most of the work.
    """
    wide = kernel.shape[:2] == (3, 3) and 64 <= min(kernel.shape[2:])
    return wide and x.dtype == jnp.float32 and math.prod(x.shape[:-1]) >= 256


@jax.custom_vjp
def _trained_conv(x, kernel):
    """3x3 at stride 1. Its gradients are convolutions of this kind and products of tiles."""
    return _tiled_conv(x, kernel, False)


def _trained_conv_forward(x, kernel):
    return _trained_conv(x, kernel), (x, kernel)


@jax.jit
def _trained_conv_backward(kept, slope):
    x, kernel = kept
    # Made in memory as they are: fused with the products below they would be written turned.
    inputs = jax.lax.optimization_barrier(_input_tiles(x, 4, 2))
    outputs = _output_tiles(slope, 4, 2)
    products = [
        [a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1]) for a, b in zip(row, other)]
        for row, other in zip(inputs, outputs)
    ]
    down, across = toom_cook(4, 3)[1].T, toom_cook(2, 3)[1].T
    columns = [[_combine(b, row) for row in products] for b in across]
    change = jnp.stack([jnp.stack([_combine(a, column) for column in columns]) for a in down])
    return _tiled_conv(slope, kernel, True), change


@functools.partial(jax.jit, static_argnums=2)
def _tiled_conv(x, kernel, turned):
    """F(4x2, 3x3) by a plain kernel, or by the turned one that gives the gradient of x."""
    tiles, points = _input_tiles(x, 4, 2), _kernel_tiles(kernel, turned)
    side = 1 if turned else 0
    products = [
        [jax.lax.dot_general(t, p, (((3,), (side,)), ((), ()))) for t, p in zip(row, other)]
        for row, other in zip(tiles, points)
    ]
    return _image(products, *x.shape[1:3])


def _kernel_tiles(kernel, turned):
    """G g for tiles of 4x2 outputs: arrays [I, O] by point. `fast_kernel` for one use, in parts."""
    taps = [[kernel[2 - i, 2 - j] if turned else kernel[i, j] for j in range(3)] for i in range(3)]
    down, across = toom_cook(4, 3)[1], toom_cook(2, 3)[1]
    rows = [[_combine(b, row) for b in across] for row in taps]
    return [[_combine(a, column) for column in zip(*rows)] for a in down]


_trained_conv.defvjp(_trained_conv_forward, _trained_conv_backward)


def _output_tiles(y, high, wide):
    """The transposed A over tiles of high x wide outputs: arrays [B, rows, cols, O] by point."""
    batch, frames, bins, width = y.shape
    rows, cols = -(-frames // high), -(-bins // wide)
    y = jnp.pad(y, ((0, 0), (0, rows * high - frames), (0, cols * wide - bins), (0, 0)))
    y = y.reshape(batch, rows, high, cols, wide, width)
    down, across = toom_cook(high, 3)[0].T, toom_cook(wide, 3)[0].T
    columns = [
        [_combine(a, [y[:, :, i, :, j] for i in range(high)]) for j in range(wide)] for a in down
    ]
    return [[_combine(a, column) for a in across] for column in columns]


def fast_upsampling_kernel(kernel) -> np.ndarray:
    """What `fast_upsampling` takes for a plain [3, 3, I, O]: [3, 3, I, O] of transform points."""
    gather = toom_cook(2, 3)[1][[0, 1, 3]]
    both = np.kron(gather, gather).astype(np.float32)
    _, kernel = _library(kernel)
    return (both @ kernel.reshape(9, -1)).reshape(kernel.shape)


def _library(kernel):
    """numpy for arrays, which spares compilations; jax where only shapes are asked for."""
    if isinstance(kernel, jax.core.Tracer):
        return jnp, kernel
    return np, np.asarray(kernel, np.float32)


@functools.partial(jax.jit, static_argnums=2)
def fast_upsampling(x, fast, size) -> jax.Array:
    """Nearest-neighbour upsampling by two, then the 3x3 convolution, in 9 products of 36.

    x: [B, T, F, I] -> [B, *size, O]; sizes are twice those of x, or one less.

    F(2, 3) meets the repeated rows (a, b, b, c): its third point sees b - b and falls away.
    """
    if size != (2 * x.shape[1], 2 * x.shape[2]):
        return _conv_2d(nearest(x, size), _all_points(fast))
    tiles = [_repeated(row, 2) for row in _repeated(x, 1)]
    products = _products(tiles, fast)
    outputs = toom_cook(2, 3)[0][:, [0, 1, 3]]
    columns = [[_combine(a, row) for a in outputs] for row in products]
    return _interleave(columns, outputs)


def _repeated(x, axis):
    """Points 0, 1 and infinity of F(2, 3) for x repeated twice along `axis`."""
    length, pad = x.shape[axis], [(0, 0)] * x.ndim
    pad[axis] = (1, 1)
    wide = jnp.pad(x, pad)
    before = jax.lax.slice_in_dim(wide, 0, length, axis=axis)
    after = jax.lax.slice_in_dim(wide, 2, length + 2, axis=axis)
    rows = toom_cook(2, 3)[2]
    return [_combine(rows[n], (before, x, x, after)) for n in (0, 1, 3)]


def _all_points(fast):
    """The point that repeated rows do not need, from the others: [3, 3, I, O] -> [4, 4, I, O]."""
    gather = toom_cook(2, 3)[1]
    spread = (gather @ np.linalg.inv(gather[[0, 1, 3]])).astype(np.float32)
    return jnp.einsum("ma,nb,abio->mnio", spread, spread, fast)


def nearest(x, size) -> jax.Array:
    """Nearest-neighbour resampling, index = floor(target * in / out). x: [B, T, F, C]."""
    for axis, target in zip((1, 2), size):
        source = x.shape[axis]
        if target == 2 * source:
            x = jnp.repeat(x, 2, axis)
        elif target != source:
            x = jnp.take(x, np.arange(target) * source // target, axis)
    return x
