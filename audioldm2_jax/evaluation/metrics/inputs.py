"""Checks of what metrics compare."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError


def feature_matrix(name: str, values) -> np.ndarray:
    """float64 [N, D]. Raises InputError unless there are at least two finite rows."""
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or len(matrix) < 2:
        raise InputError(f"{name}: {matrix.shape} instead of at least two rows of features")
    if not np.isfinite(matrix).all():
        raise InputError(f"{name}: features that are not finite")
    return matrix
