"""Toom-Cook convolutions: their matrices, and the transforms of tiles.

Winograd, and Lavin and Gray (arXiv 1509.09308). All of it is for the CPU.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Evaluation points beside infinity for m + r - 1 products; those of six keep fp32's rounding least
# (Barabasz et al., arXiv 1803.10986).
_POINTS = {4: (0, 1, -1), 6: (0, 1, -1, 0.5, -2), 7: (0, 1, -1, 2, -2, 0.5)}


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


def combine(row, parts):
    """Sum of coefficient * part, without the zeros."""
    total = None
    for c, part in zip(row, parts):
        if abs(c) > 1e-9:
            term = part if c == 1 else -part if c == -1 else part * jnp.asarray(c, part.dtype)
            total = term if total is None else total + term
    return total


def tiles_along(x, axis, outputs, taps):
    """B d along `axis`, of length (tiles + 1) * outputs: n arrays of length tiles."""
    tiles = x.shape[axis] // outputs - 1
    split = x.reshape(*x.shape[:axis], tiles + 1, outputs, *x.shape[axis + 1 :])
    phases = [jax.lax.index_in_dim(split, i, axis + 1, keepdims=False) for i in range(outputs)]
    parts = [jax.lax.slice_in_dim(p, 0, tiles, axis=axis) for p in phases]
    parts += [jax.lax.slice_in_dim(p, 1, tiles + 1, axis=axis) for p in phases[: taps - 1]]
    return [combine(row, parts) for row in toom_cook(outputs, taps)[2]]


def input_tiles(x, high, wide):
    """B d for tiles of high x wide outputs: arrays [B, rows, cols, I] by point."""
    frames, bins = x.shape[1:3]
    rows, cols = -(-frames // high), -(-bins // wide)
    padding = (
        (0, 0),
        (1, (rows + 1) * high - frames - 1),
        (1, (cols + 1) * wide - bins - 1),
        (0, 0),
    )
    by_row = tiles_along(jnp.pad(x, padding), 1, high, 3)
    return [tiles_along(row, 2, wide, 3) for row in by_row]


def output_tiles(y, high, wide):
    """The transposed A over tiles of high x wide outputs: arrays [B, rows, cols, O] by point."""
    batch, frames, bins, width = y.shape
    rows, cols = -(-frames // high), -(-bins // wide)
    y = jnp.pad(y, ((0, 0), (0, rows * high - frames), (0, cols * wide - bins), (0, 0)))
    y = y.reshape(batch, rows, high, cols, wide, width)
    down, across = toom_cook(high, 3)[0].T, toom_cook(wide, 3)[0].T
    columns = [
        [combine(a, [y[:, :, i, :, j] for i in range(high)]) for j in range(wide)] for a in down
    ]
    return [[combine(a, column) for a in across] for column in columns]


def image_of(products, frames, bins):
    """products[a][b] of the tiles' points to the image: A along both axes, and cut to size."""
    down, across = (toom_cook(len(points) - 2, 3)[0] for points in (products, products[0]))
    columns = [[combine(a, row) for a in across] for row in products]
    return interleave(columns, down)[:, :frames, :bins]


def interleave(columns, down):
    """columns[a][j] to the image: A along time, then outputs of tiles beside each other."""
    image = [
        jnp.stack([combine(a, [row[j] for row in columns]) for j in range(len(columns[0]))], 3)
        for a in down
    ]
    image = jnp.stack(image, 2)
    batch, rows, high, cols, wide, width = image.shape
    return image.reshape(batch, rows * high, cols * wide, width)
