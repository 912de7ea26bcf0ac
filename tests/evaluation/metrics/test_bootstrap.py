"""Intervals that hold what they promise, rows of resampled clips, and values by class."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.bootstrap import by_class, interval, rows_of_clips
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance


def test_interval_of_a_mean():
    """Against the normal law, and with the true mean inside as often as promised."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(400)
    low, high = interval(lambda i: scores[i].mean(), 400, resamples=1000)
    error = scores.std() / 20
    assert low == pytest.approx(scores.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(scores.mean() + 1.96 * error, abs=0.2 * error)
    inside = 0
    for seed in range(200):
        scores = rng.exponential(size=60)
        low, high = interval(lambda i: scores[i].mean(), 60, seed=seed, level=0.8)  # noqa: B023
        inside += low <= 1 <= high
    assert 0.68 < inside / 200 < 0.9


def test_interval_is_reproducible_and_wider_with_the_level():
    scores = np.random.default_rng(1).standard_normal(50)
    mean = lambda i: scores[i].mean()  # noqa: E731
    assert interval(mean, 50) == interval(mean, 50) != interval(mean, 50, seed=1)
    narrow, wide = interval(mean, 50, level=0.5), interval(mean, 50, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_a_biased_metric_is_centred_on_its_value():
    x, y = np.random.default_rng(0).standard_normal((2, 60, 12))
    value = frechet_distance(x, y)
    distance = lambda i: frechet_distance(x, y[i])  # noqa: E731
    low, high = interval(distance, 60, resamples=60)
    assert low > value  # repeats make a set poorer
    centred = interval(distance, 60, resamples=60, centre=value)
    assert centred[0] < value < centred[1]
    assert centred[1] - centred[0] == pytest.approx(high - low)


def test_resamples_without_a_value():
    scores = np.array([1.0, np.nan, 3.0, 2.0])
    first = lambda i: scores[i[0]]  # noqa: E731
    low, high = interval(first, 4)
    assert (low, high) == (1, 3)
    assert np.isnan(interval(lambda _: np.nan, 4)).all()
    with pytest.raises(InputError, match="of 1 clips: at least 2"):
        interval(first, 1)


def test_rows_of_clips():
    clip_index = np.array([0, 0, 2, 1, 2, 2, 4])
    assert rows_of_clips(clip_index, np.array([2, 0, 2])).tolist() == [2, 4, 5, 0, 1, 2, 4, 5]
    assert rows_of_clips(clip_index, np.array([3, 1])).tolist() == [3]
    assert sorted(rows_of_clips(clip_index, np.arange(5))) == list(range(7))


def test_by_class():
    scores = np.array([1.0, 2, 3, 4, 5])
    labels = [("dog", "rain"), "dog", ["dog"], ["rain", "rain"], ()]
    result = by_class(lambda i: scores[i].mean(), labels, least=3)
    assert result == {"dog": (2.0, 3), "rain": (None, 2)}
    assert list(by_class(len, labels, least=1)) == ["dog", "rain"]
    # Too few for the metric itself.
    x = np.random.default_rng(0).standard_normal((5, 2))
    result = by_class(lambda i: frechet_distance(x, x[i]), ["a", "a", "b", "a", "a"], least=1)
    assert result["a"].value >= 0 and result["b"] == (None, 1)
