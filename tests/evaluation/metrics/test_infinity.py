"""Frechet distances fall with N; the extrapolation takes that away, KAD has none of it."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.infinity import frechet_infinity, ladder
from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics

WIDTH = 16


@pytest.fixture
def rng():
    return np.random.default_rng(0)


UNIT = GaussianStatistics.from_moments(np.zeros(WIDTH), np.eye(WIDTH), 10**6)


def test_extrapolation_is_to_the_distribution(rng):
    """Of one distribution it is 0, with standard deviations of 1 and 2 it is the width."""
    rows = rng.standard_normal((2000, WIDTH))
    result = frechet_infinity(UNIT, rows, points=12)
    assert [n for n, _ in result.points][::11] == [500, 2000]
    assert result.points[-1][1] == pytest.approx(frechet_distance(UNIT, rows))
    assert abs(result.value) < 0.4 * frechet_distance(UNIT, rows) and result.r2 > 0.8
    assert result == frechet_infinity(UNIT, rows, points=12)
    assert result.value != frechet_infinity(UNIT, rows, points=12, seed=1).value
    wide = frechet_infinity(UNIT, 2 * rows, points=12)
    assert wide.value == pytest.approx(WIDTH, rel=0.03)


def test_resamples_keep_the_bias(rng):
    rows = rng.standard_normal((600, WIDTH))
    biased = frechet_distance(UNIT, rows)
    values = [
        frechet_infinity(UNIT, rows, points=12, least=100, replace=True, seed=seed).value
        for seed in range(5)
    ]
    assert np.mean(values) == pytest.approx(biased, rel=0.3)
    removed = frechet_infinity(UNIT, rows, points=12, least=100).value
    assert abs(removed) < 0.7 * biased


def test_line_is_least_squares(rng):
    x, y = rng.standard_normal((200, 4)), rng.standard_normal((90, 4)) + 1
    value, r2, points = frechet_infinity(x, y, points=6, least=20)
    n, distances = np.array(points).T
    intercept = np.polyfit(1 / n, distances, 1)[1]
    assert value == pytest.approx(intercept)
    assert r2 == pytest.approx(np.corrcoef(1 / n, distances)[0, 1] ** 2)


def test_ladder_shows_bias(rng):
    x, y = rng.standard_normal((2, 640, WIDTH))
    frechet = ladder(lambda i: frechet_distance(x[i], y[i]), 640)
    assert [size for size, _, _ in frechet] == [40, 80, 160, 320, 640]
    means = [mean for _, mean, _ in frechet]
    assert means == sorted(means, reverse=True) and means[0] > 8 * means[-1]
    assert frechet[-1][1:] == (pytest.approx(frechet_distance(x, y)), 0)
    kernels = [
        ladder(lambda i: kernel_audio_distance(x[i], y[i]), 640, seed=seed) for seed in range(7)
    ]
    for means in np.array(kernels)[:, :, 1].T:
        assert abs(means.mean()) <= 2 * means.std() / np.sqrt(7) + 0.1
    assert ladder(len, 9) == [(9, 9, 0)] and ladder(len, 16) == [(8, 8, 0), (16, 16, 0)]
    known = ladder(lambda i: frechet_distance(x[i], y[i]), 640, whole=7.0)
    assert known == [*frechet[:-1], (640, 7.0, 0.0)]


def test_what_cannot_be_extrapolated(rng):
    x = rng.standard_normal((520, 4))
    for call, message in (
        (lambda: frechet_infinity(x, x), "generated: 520 rows of features, at least 525"),
        (lambda: frechet_infinity(x, x, points=1, least=10), "at least 2 of 2"),
        (lambda: frechet_infinity(x[:, :2], x, least=10, points=2), "of 2 and of 4 numbers"),
        (lambda: ladder(len, 0), "of 0 clips: at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            call()
