"""Kernel Inception distance (arXiv 1801.01401), as `audioldm_eval` defines it."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrices
from audioldm2_jax.evaluation.metrics.kernels import cubic, unbiased_mmd


def kernel_inception_distance(
    reference, generated, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """(mean, standard deviation) over subsets of the unbiased squared MMD of features.

    reference: [N, D]; generated: [M, D]. Subsets of min(subset_size, N, M) rows come from numpy's
    RandomState(seed) without replacement, of the generated set first, as in the published toolkit.
    Where a subset is its whole set, all are the same. Raises InputError for fewer than two rows.
    """
    x, y = feature_matrices(reference, generated)
    if subsets < 1 or subset_size < 2:
        raise InputError(f"KID of {subsets} subsets of {subset_size}: at least 1 of 2 are needed")
    size = min(subset_size, len(x), len(y))
    if size == len(x) == len(y):
        return float(unbiased_mmd(cubic, x, y)[0]), 0.0
    random = np.random.RandomState(seed)
    draws = [
        [random.choice(len(rows), size, replace=False) for rows in (y, x)] for _ in range(subsets)
    ]
    if len(x) * len(x) + len(y) * len(y) <= subsets * size * size:
        counts = [_counts(len(rows), [d[i] for d in draws]) for i, rows in ((1, x), (0, y))]
        values = unbiased_mmd(cubic, x, y, *counts)
    else:
        values = np.concatenate([unbiased_mmd(cubic, x[j], y[i]) for i, j in draws])
    return float(values.mean()), float(values.std())


def _counts(rows: int, subsets: list[np.ndarray]) -> np.ndarray:
    """1 where a subset holds a row: [rows, subsets]."""
    counts = np.zeros((rows, len(subsets)))
    for i, subset in enumerate(subsets):
        counts[subset, i] = 1
    return counts
