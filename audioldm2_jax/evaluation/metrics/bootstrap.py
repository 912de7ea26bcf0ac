"""Bootstrap intervals of a metric over clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from audioldm2_jax.errors import InputError

_TAIL = 0.025  # of the resamples, below and above an interval


def interval(
    function: Callable[[np.ndarray], float],
    n: int,
    *,
    resamples: int = 200,
    seed: int = 0,
    centre: float | None = None,
) -> tuple[float, float]:
    """The 95 % percentile interval (low, high) of a metric over n clips (Efron 1979).

    function(indices [n]) -> the metric of these clips, each drawn with replacement. centre: the
    metric's own value; the interval is shifted so that the mean of the resamples lies there. A
    Frechet distance or an Inception score needs it: repeats make a set poorer, which biases every
    resample one way. Resamples without a value (nan) are left out; (nan, nan) where half are.
    Raises InputError for fewer than two clips.
    """
    values = [function(indices) for indices in _resamples(n, resamples, seed)]
    return percentiles(values, centre=centre)


def percentiles(
    values: Sequence[float] | np.ndarray, *, centre: float | None = None
) -> tuple[float, float]:
    """The interval that `interval` makes of the values of all resamples; arguments as there."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if len(finite) <= len(values) // 2:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [_TAIL, 1 - _TAIL])
    shift = 0.0 if centre is None else centre - finite.mean()
    return float(low + shift), float(high + shift)


def resample_counts(n: int, *, resamples: int = 200, seed: int = 0) -> np.ndarray:
    """How often each resample of `interval` holds each clip: float64 [n, resamples].

    For metrics that take all resamples at once, by their counts: `resampled_distances` of Frechet
    distances, `unbiased_mmd` of kernel distances. Of patches, index the rows by their clips.
    """
    draws = _resamples(n, resamples, seed)
    return np.stack([np.bincount(indices, minlength=n) for indices in draws], 1).astype(float)


def _resamples(n: int, resamples: int, seed: int) -> list[np.ndarray]:
    if n < 2 or resamples < 2:
        raise InputError(f"an interval by {resamples} resamples of {n} clips: at least 2 of 2")
    random = np.random.default_rng(seed)
    return [random.integers(0, n, n) for _ in range(resamples)]


def rows_of_clips(clip_index: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """The rows that belong to some clips, with repeats: to resample clips, not their patches.

    clip_index: [F], the clip of each row; clips: numbers of clips, as `interval` draws them.
    """
    order = np.argsort(clip_index, kind="stable")
    begins = np.searchsorted(clip_index, clips, side="left", sorter=order)
    ends = np.searchsorted(clip_index, clips, side="right", sorter=order)
    lengths = ends - begins
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return order[np.repeat(begins, lengths) + within]
