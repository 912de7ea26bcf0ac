"""Mean and covariance of features that arrive in batches, on one host or on several."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.linalg import lapack

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.inputs import feature_matrix

_LEAST_BLOCK = 2048  # rows that are folded at once, for narrow features
_PANEL = 64  # columns at once in LAPACK's blocked QR


class GaussianStatistics:
    """Count, mean and covariance of rows [D], in float64.

    A triangular factor R of the scatter (R^T R = sum of (x - mean)(x - mean)^T) stands for the
    covariance: it never squares the features, so the square roots that a Frechet distance takes
    lose no digits. Memory is O(D^2) whatever the number of rows: the factor, and as many rows that
    wait for the next QR decomposition.
    """

    def __init__(self, width: int):
        self.width = width
        self._count = 0
        self._mean = np.zeros(width)
        self._factor = np.zeros((0, width))
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0

    @classmethod
    def of(cls, features, *, name: str = "features") -> GaussianStatistics:
        """The statistics of features [N, D]. name: of the set, in messages."""
        features = np.asarray(features)
        if features.ndim != 2:
            raise InputError(f"{name}: an array of shape {features.shape}, not [rows, features]")
        statistics = cls(features.shape[1])
        statistics.update(features, name=name)
        return statistics

    @classmethod
    def from_moments(cls, mean, covariance, count: int) -> GaussianStatistics:
        """From a published mean [D] and covariance [D, D] (ddof 1) of `count` rows.

        Raises InputError for unequal widths, fewer than two rows and numbers that are not finite.
        """
        mean = np.asarray(mean, np.float64)
        covariance = feature_matrix("covariance", covariance, least=1)
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise InputError(f"a mean {mean.shape} with a covariance {covariance.shape}")
        if count < 2 or not np.isfinite(mean).all():
            raise InputError(f"{count} rows or a mean that is not finite: no covariance")
        values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
        statistics = cls(len(mean))
        statistics._count, statistics._mean = int(count), mean.copy()
        root = np.sqrt(np.maximum(values, 0) * (count - 1))[:, None] * vectors.T
        statistics._factor = np.linalg.qr(root, mode="r")
        return statistics

    @classmethod
    def from_arrays(cls, arrays: Mapping) -> GaussianStatistics:
        """What `arrays` gave, also from another host or an .npz file."""
        statistics = cls(len(arrays["mean"]))
        statistics._count = int(arrays["count"])
        statistics._mean = np.array(arrays["mean"], np.float64)
        statistics._factor = np.array(arrays["factor"], np.float64)
        return statistics

    def arrays(self) -> dict[str, np.ndarray]:
        """{"count": [], "mean": [D], "factor": [at most D, D]}: all that another host needs."""
        self._fold()
        return {
            "count": np.asarray(self._count),
            "mean": self._mean.copy(),
            "factor": self._factor.copy(),
        }

    def update(self, rows, *, name: str = "features") -> None:
        """Adds rows [N, D], any N. Raises InputError for another width or NaN; then adds none."""
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise InputError(f"{name}: rows of shape {rows.shape}, {self.width} features expected")
        block = max(self.width, _LEAST_BLOCK)
        slices = [rows[start : start + block] for start in range(0, len(rows), block)]
        if not all(np.isfinite(piece).all() for piece in slices):
            raise InputError(f"{name}: features that are not finite")
        for piece in slices:
            self._pending.append(np.array(piece, np.float64))
            self._pending_rows += len(piece)
            if self._pending_rows >= block:
                self._fold()

    def merge(self, other: GaussianStatistics) -> GaussianStatistics:
        """The statistics of both sets of rows. Raises InputError for unequal widths."""
        if self.width != other.width:
            raise InputError(f"statistics of {self.width} and of {other.width} features")
        other._fold()
        merged = GaussianStatistics.from_arrays(self.arrays())
        merged._combine(other._count, other._mean, other._factor)
        return merged

    @property
    def count(self) -> int:
        """Rows so far."""
        return self._count + self._pending_rows

    @property
    def mean(self) -> np.ndarray:
        """[D]"""
        self._fold()
        return self._mean

    @property
    def factor(self) -> np.ndarray:
        """F [at most D, D] with F^T F the covariance. Raises InputError for less than two rows."""
        self._fold()
        if self._count < 2:
            raise InputError(f"{self._count} rows of features, a covariance needs at least 2")
        return self._factor / np.sqrt(self._count - 1)

    @property
    def covariance(self) -> np.ndarray:
        """[D, D], ddof 1. Raises InputError for less than two rows."""
        factor = self.factor
        return factor.T @ factor

    def _fold(self) -> None:
        if self._pending:
            rows = np.concatenate(self._pending)
            self._pending, self._pending_rows = [], 0
            mean = rows.mean(0)
            self._combine(len(rows), mean, rows - mean)

    def _combine(self, count: int, mean: np.ndarray, factor: np.ndarray) -> None:
        """Adds `count` rows of that mean whose scatter is factor^T factor."""
        total = self._count + count
        if not count:
            return
        offset = mean - self._mean
        if self._count:
            # The scatter of the two means, a single row (Chan, Golub and LeVeque 1979).
            bridge = np.sqrt(self._count / total * count) * offset
            factor = np.concatenate([factor, bridge[None]])
        self._factor = _triangle(self._factor, factor)
        self._mean = self._mean + offset * (count / total)
        self._count = total


def _triangle(factor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """F with F^T F = factor^T factor + rows^T rows; [D, D] and triangular, or of fewer rows."""
    width = rows.shape[1]
    if len(factor) == width:
        # A triangle on top of rows: the QR that skips the triangle's zeros.
        panel = min(width, _PANEL)
        return np.triu(lapack.dtpqrt(0, panel, factor, np.asfortranarray(rows))[0])
    stacked = np.concatenate([factor, rows])
    return np.linalg.qr(stacked, mode="r") if len(stacked) >= width else stacked
