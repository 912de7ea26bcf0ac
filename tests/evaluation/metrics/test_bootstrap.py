"""Intervals that hold what they promise, and rows of resampled clips."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.bootstrap import (
    interval,
    percentiles,
    resample_counts,
    rows_of_clips,
)
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance, resampled_distances
from audioldm2_jax.evaluation.metrics.kernels import cubic, unbiased_mmd


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
        low, high = interval(lambda i: scores[i].mean(), 60, seed=seed)  # noqa: B023
        inside += low <= 1 <= high
    assert 0.86 < inside / 200 < 0.99


def test_interval_is_reproducible():
    scores = np.random.default_rng(1).standard_normal(50)
    mean = lambda i: scores[i].mean()  # noqa: E731
    assert interval(mean, 50) == interval(mean, 50) != interval(mean, 50, seed=1)


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
    for call, message in (
        (lambda: interval(first, 1), "of 1 clips: at least 2"),
        (lambda: resample_counts(5, resamples=1), "by 1 resamples of 5 clips"),
    ):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize("clips,width", [(40, 6), (20, 64)])
def test_all_frechet_resamples_at_once(clips, width):
    """Clips of two patches each: the slow way repeats their rows."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, width)), np.maximum(rng.standard_normal((2 * clips, width)), 0)
    clip_index = np.repeat(np.arange(clips), 2)
    counts = resample_counts(clips, resamples=7)
    assert counts.shape == (clips, 7) and (counts.sum(0) == clips).all()
    values = resampled_distances(x, y, counts[clip_index])
    slow = []
    interval(
        lambda i: slow.append(frechet_distance(x, y[rows_of_clips(clip_index, i)])) or 0.0,
        clips,
        resamples=7,
    )
    np.testing.assert_allclose(values, slow, rtol=1e-6)
    once = resampled_distances(x, y, np.ones((2 * clips, 1)))
    assert once == pytest.approx(frechet_distance(x, y), rel=1e-6)
    with pytest.raises(InputError, match="a resample of 1 rows"):
        resampled_distances(x, y, np.eye(2 * clips))
    with pytest.raises(InputError, match=f"of {2 * clips} rows of features"):
        resampled_distances(x, y, counts)


def test_all_kernel_resamples_at_once():
    """Pairs of a clip with its own copies are left out, so repeats do not bias it."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((25, 4)) + 0.3
    counts = resample_counts(25, resamples=500)
    values = unbiased_mmd(cubic, x, y, None, counts)
    column = counts[:, 0].astype(int)
    drawn, origin = np.repeat(y, column, 0), np.repeat(np.arange(25), column)
    apart = origin[:, None] != origin
    own = cubic(x, x)
    expected = (own.sum() - np.trace(own)) / (30 * 29)
    expected += cubic(drawn, drawn)[apart].mean() - 2 * cubic(x, drawn).mean()
    assert values[0] == pytest.approx(expected)
    low, high = percentiles(values)
    whole = unbiased_mmd(cubic, x, y)[0]
    assert low < whole < high
    assert values.mean() == pytest.approx(whole, abs=4 * values.std() / np.sqrt(500))


def test_rows_of_clips():
    clip_index = np.array([0, 0, 2, 1, 2, 2, 4])
    assert rows_of_clips(clip_index, np.array([2, 0, 2])).tolist() == [2, 4, 5, 0, 1, 2, 4, 5]
    assert rows_of_clips(clip_index, np.array([3, 1])).tolist() == [3]
    assert sorted(rows_of_clips(clip_index, np.arange(5))) == list(range(7))
