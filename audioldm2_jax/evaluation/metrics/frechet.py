"""Frechet distance of features or of their statistics, as `audioldm_eval` defines it (FD, FAD)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import check_widths
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics


def frechet_distance(reference, generated) -> float:
    """Squared Frechet distance of two Gaussians, of features [N, D] and [M, D].

    Either may be GaussianStatistics instead. |m - n|^2 + tr(C) + tr(E) - 2 tr((C E)^(1/2)),
    covariances with ddof 1. It falls with N: compare only sets of one size. Raises InputError for
    fewer than two rows, unequal widths and numbers that are not finite.
    """
    x, y = _statistics("reference", reference), _statistics("generated", generated)
    for name, statistics in (("reference", x), ("generated", y)):
        if statistics.count < 2:
            raise InputError(f"{name}: {statistics.count} rows of features, at least 2 are needed")
    check_widths(x.width, y.width)
    offset, c, e = x.mean - y.mean, x.factor, y.factor
    # tr((C E)^(1/2)) is the nuclear norm of the product of the factors: exact also where the
    # covariances are singular (N <= D), where matrix square roots are not.
    nuclear = np.linalg.svd(c @ e.T, compute_uv=False).sum()
    distance = offset @ offset + np.vdot(c, c) + np.vdot(e, e) - 2 * nuclear
    return max(0.0, float(distance))


def _statistics(name: str, features) -> GaussianStatistics:
    if isinstance(features, GaussianStatistics):
        return features
    return GaussianStatistics.of(features, name=name)
