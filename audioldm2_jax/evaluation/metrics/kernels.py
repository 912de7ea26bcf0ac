"""Maximum mean discrepancy of two sets of features, in blocks so that memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [B, D], [M, D] -> [B, M]
_BLOCK = 1 << 22  # numbers of a block of the kernel's matrix: 32 MB


def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x.y / D + 1)^3, the kernel of KID (Binkowski et al., arXiv 1801.01401)."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base


def gaussian(bandwidth: float) -> Kernel:
    """exp(-|x - y|^2 / (2 bandwidth^2 + 1e-8)); the 1e-8 is kadtk's."""
    gamma = 1 / (2 * bandwidth**2 + 1e-8)
    return lambda x, y: np.exp(-gamma * squared_distances(x, y))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x - y|^2 of rows [B, D] and [M, D]: [B, M]. Centre them before: it cancels less."""
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * (x @ y.T)
    return np.maximum(squares, 0)


def unbiased_mmd(kernel: Kernel, x, y, x_counts=None, y_counts=None) -> np.ndarray:
    """Unbiased squared MMD of S pairs of samples: [S]. x: [N, D]; y: [M, D].

    x_counts [N, S], y_counts [M, S]: how often a sample holds each row; once each where None. Pairs
    of a row with itself are left out, copies too, so the expectation is 0 for one distribution and
    single values may be negative (Gretton et al. 2012, equation 3).
    """
    a = np.ones((len(x), 1)) if x_counts is None else np.asarray(x_counts, np.float64)
    b = np.ones((len(y), 1)) if y_counts is None else np.asarray(y_counts, np.float64)
    within = sum(
        _within(kernel, z, counts) / (np.square(counts.sum(0)) - np.square(counts).sum(0))
        for z, counts in ((x, a), (y, b))
    )
    return within - 2 * _between(kernel, x, y, a, b) / (a.sum(0) * b.sum(0))


def _between(kernel: Kernel, x, y, a, b) -> np.ndarray:
    """Sum over i, j of a[i] kernel(x[i], y[j]) b[j]: [S]."""
    total = np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]))
    for rows in blocks(len(x), len(y)):
        total += ((kernel(x[rows], y) @ b) * a[rows]).sum(0)
    return total


def _within(kernel: Kernel, x, a) -> np.ndarray:
    """The same of x with itself without i = j: twice the upper triangle. [S]"""
    total = np.zeros(a.shape[1])
    for rows in blocks(len(x), len(x)):
        upper = np.triu(kernel(x[rows], x[rows.start :]), 1)
        total += 2 * ((upper @ a[rows.start :]) * a[rows]).sum(0)
    return total


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows whose block of a [rows, columns] matrix is of bounded size."""
    step = max(1, _BLOCK // columns)
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
