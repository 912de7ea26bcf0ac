"""Frechet distance of features, as `audioldm_eval` defines it (FD, FAD)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrix


def frechet_distance(reference, generated) -> float:
    """Squared Frechet distance of two Gaussians fitted to features [N, D] and [M, D].

    |m - n|^2 + tr(C) + tr(E) - 2 tr((C E)^(1/2)), covariances with ddof 1. The last trace is the
    nuclear norm of X Y^T / sqrt((N - 1) (M - 1)), X and Y the centred features: exact also where
    covariances are singular, which matrix square roots are not. Raises InputError for fewer than
    two clips or unequal widths.
    """
    x, y = feature_matrix("reference", reference), feature_matrix("generated", generated)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"features of {x.shape[1]} and of {y.shape[1]} numbers, not of one kind")
    offset = x.mean(0) - y.mean(0)
    x, y = ((m - m.mean(0)) / np.sqrt(len(m) - 1) for m in (x, y))
    # Of more clips than features the triangular factor has the same covariance.
    x, y = (np.linalg.qr(m, mode="r") if len(m) > m.shape[1] else m for m in (x, y))
    nuclear = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(offset @ offset + (x * x).sum() + (y * y).sum() - 2 * nuclear)
