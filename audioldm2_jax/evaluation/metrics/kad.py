"""Kernel audio distance (Chung et al., arXiv 2502.15602): MMD with a Gaussian kernel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrices
from audioldm2_jax.evaluation.metrics.kernels import (
    blocks,
    gaussian,
    squared_distances,
    unbiased_mmd,
)

_BINS = 1 << 16
_AT_ONCE = 1 << 24  # distances whose median is taken in memory: 128 MB


def kernel_audio_distance(reference, generated, *, bandwidth: str | float = "reference") -> float:
    """100 times the unbiased squared MMD of features [N, D] and [M, D]; it may be negative.

    bandwidth: of the kernel; a number, or the median distance within a set. The paper takes the
    "reference" set, so that all systems share a kernel; the code of kadtk takes the "generated"
    set, and so do published figures. Unbiased at any N, unlike FAD. Raises InputError for fewer
    than two rows.
    """
    x, y = feature_matrices(reference, generated)
    mean = x.mean(0)
    x, y = x - mean, y - mean
    if isinstance(bandwidth, str):
        sets = {"reference": x, "generated": y}
        if bandwidth not in sets:
            raise InputError(f"KAD bandwidth {bandwidth!r}: reference, generated or a number")
        bandwidth = median_distance(sets[bandwidth])
    return float(100 * unbiased_mmd(gaussian(bandwidth), x, y)[0])


def median_distance(x: np.ndarray, *, at_once: int = _AT_ONCE) -> float:
    """The lower median of the distances between two rows of x [N, D], as torch.median.

    More than `at_once` distances are counted in bins first, and only those of the median's bin
    are held. Raises InputError for fewer than two rows.
    """
    pairs = len(x) * (len(x) - 1) // 2
    if not pairs:
        raise InputError(f"{len(x)} rows of features, a median distance needs at least 2")
    x = x - x.mean(0)
    rank, low, high = (pairs - 1) // 2, 0.0, np.inf
    if pairs > at_once:
        # No two rows are further apart than twice the largest distance from the mean.
        high = 2.001 * np.sqrt(np.square(x).sum(1).max()) + np.finfo(float).tiny
    while pairs > at_once and high - low > _BINS * np.spacing(high):
        counts = np.zeros(_BINS, np.int64)
        for distances in _distances(x, low, high):
            part, edges = np.histogram(distances, _BINS, (low, high))
            counts += part
        ends = np.cumsum(counts)
        i = int(np.searchsorted(ends, rank, side="right"))
        rank, pairs = rank - int(ends[i] - counts[i]), int(counts[i])
        low, high = edges[i], edges[i + 1]
    if pairs > at_once:  # that many distances, equal to eleven digits
        return float(low)
    members = np.concatenate(list(_distances(x, low, high)))
    return float(np.partition(members, rank)[rank])


def _distances(x: np.ndarray, low: float = 0.0, high: float = np.inf) -> Iterator[np.ndarray]:
    """Distances in [low, high) between each two rows of x, in pieces."""
    for rows in blocks(len(x), len(x)):
        squares = squared_distances(x[rows], x[rows.start :])
        later = np.arange(squares.shape[1]) > np.arange(len(squares))[:, None]
        distances = np.sqrt(squares[later])
        yield distances[(distances >= low) & (distances < high)]
