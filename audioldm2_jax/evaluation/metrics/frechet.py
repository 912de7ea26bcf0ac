"""Frechet distance of features or of their statistics, as `audioldm_eval` defines it (FD, FAD)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import check_widths, feature_matrix
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


def resampled_distances(reference, generated, counts) -> np.ndarray:
    """Frechet distances of S resamples of the generated rows, for bootstrap intervals: [S].

    reference: [N, D] or GaussianStatistics, always whole; generated: [M, D]; counts: [M, S], how
    often each resample holds each row. The same values as `frechet_distance` of the repeated rows
    but for rounding (1e-6 relative), several times faster. Raises InputError as that one does.
    """
    x, y = _statistics("reference", reference), feature_matrix("generated", generated)
    check_widths(x.width, y.shape[1])
    # The features are multiplied once; a resample only weighs the columns of the product.
    factor, centre = x.factor, y.mean(0)
    y = y - centre
    product, squares = factor @ y.T, np.square(y).sum(1)
    fixed, counts, distances = np.vdot(factor, factor), np.asarray(counts, np.float64), []
    if counts.ndim != 2 or len(counts) != len(y):
        raise InputError(f"counts {counts.shape} of {len(y)} rows of features")
    for column in counts.T:
        rows, n = np.flatnonzero(column), column.sum()
        if n < 2:
            raise InputError(f"a resample of {n:.0f} rows, at least 2 are needed")
        shares = column[rows] / n
        mean, columns = shares @ y[rows], product[:, rows]
        columns = (columns - columns @ shares[:, None]) * np.sqrt(shares * n / (n - 1))
        gram = columns @ columns.T if len(columns) < len(rows) else columns.T @ columns
        nuclear = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum()
        trace = (shares @ squares[rows] - mean @ mean) * n / (n - 1)
        offset = x.mean - centre - mean
        distances.append(max(0.0, offset @ offset + fixed + trace - 2 * nuclear))
    return np.array(distances)


def _statistics(name: str, features) -> GaussianStatistics:
    if isinstance(features, GaussianStatistics):
        return features
    return GaussianStatistics.of(features, name=name)
