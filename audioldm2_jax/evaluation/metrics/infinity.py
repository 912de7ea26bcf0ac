"""Frechet distances at small N: how they fall with N, and where they would end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.inputs import feature_matrix
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics

_REPEATS = 3  # subsets of each size


class Extrapolation(NamedTuple):
    """A line in 1 / n. value: at 1 / n = 0; r2: of the fit; points: [(n, distance)]."""

    value: float
    r2: float
    points: list[tuple[int, float]]


def frechet_infinity(
    reference,
    generated,
    *,
    points: int = 25,
    least: int = 500,
    replace: bool = False,
    seed: int = 0,
) -> Extrapolation:
    """FAD-infinity (Chong and Forsyth, arXiv 1911.07023; for audio Gui et al., arXiv 2311.01616).

    reference: features [N, D] or GaussianStatistics, always whole; generated: [M, D], of which n
    rows are drawn, n in linspace(least, M, points). A line in 1 / n is fitted by least squares.
    Rows are drawn without replacement, as Chong and Forsyth do: the line ends at the distance of
    the distributions. With `replace`, as fadtk draws, it ends at about the distance of all M rows:
    the resamples' bias is gone, that of the M rows is not.
    Raises InputError for fewer than `least` + `points` generated rows.
    """
    y = feature_matrix("generated", generated, least=least + points)
    if points < 2 or least < 2:
        raise InputError(f"FAD-infinity of {points} points from {least} rows on: at least 2 of 2")
    if not isinstance(reference, GaussianStatistics):
        reference = GaussianStatistics.of(reference, name="reference")
    random, curve = np.random.default_rng(seed), []
    for n in np.linspace(least, len(y), points).astype(int):
        rows = y[random.choice(len(y), n, replace=replace)]
        curve.append((int(n), frechet_distance(reference, rows)))
    x, values = 1 / np.array([n for n, _ in curve]), np.array([d for _, d in curve])
    design = np.stack([x, np.ones_like(x)], 1)
    fit = np.linalg.lstsq(design, values)[0]
    residual, total = (values - design @ fit).var(), values.var()
    return Extrapolation(float(fit[1]), float(1 - residual / total) if total else 1.0, curve)


def ladder(
    function: Callable[[np.ndarray], float],
    n: int,
    *,
    whole: float | None = None,
    seed: int = 0,
) -> list[tuple[int, float, float]]:
    """[(size, mean, standard deviation)] of a metric over subsets of n clips: its bias at small N.

    function(indices [size]) -> the metric of these clips; three subsets of each size are drawn
    without replacement, and the whole set once, unless its metric is given as `whole`. Sizes
    are n / 16, n / 8 ... n, from 8 on. An unbiased metric has equal means. Raises InputError for
    no clips.
    """
    sizes = [n >> i for i in (4, 3, 2, 1) if n >> i >= 8] + [n]
    if n < 1:
        raise InputError(f"a ladder of {n} clips: at least 1")
    random, steps = np.random.default_rng(seed), []
    for size in sizes:
        if size == n and whole is not None:
            steps.append((n, whole, 0.0))
            continue
        draws = _REPEATS if size < n else 1
        values = [function(np.sort(random.permutation(n)[:size])) for _ in range(draws)]
        steps.append((int(size), float(np.mean(values)), float(np.std(values))))
    return steps
