"""Checks of what metrics compare."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError


def feature_matrix(name: str, values, *, least: int = 2) -> np.ndarray:
    """float64 [N, D]. Raises InputError unless there are at least `least` finite rows."""
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise InputError(f"{name}: an array of shape {matrix.shape}, not [rows, features]")
    if len(matrix) < least:
        raise InputError(f"{name}: {len(matrix)} rows of features, at least {least} are needed")
    if not np.isfinite(matrix).all():
        raise InputError(f"{name}: features that are not finite")
    return matrix


def check_widths(reference: int, generated: int) -> None:
    """Raises InputError unless features of two sets are equally wide."""
    if reference != generated:
        raise InputError(f"features of {reference} and of {generated} numbers, not of one kind")


def feature_matrices(reference, generated, *, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features of one kind, float64 [N, D] and [M, D]; raises InputError else."""
    x = feature_matrix("reference", reference, least=least)
    y = feature_matrix("generated", generated, least=least)
    check_widths(x.shape[1], y.shape[1])
    return x, y
