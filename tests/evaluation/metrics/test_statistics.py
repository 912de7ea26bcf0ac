"""Streamed statistics are those of the whole set, and Frechet distances have closed forms."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def streamed(rows, sizes):
    statistics, start = GaussianStatistics(rows.shape[1]), 0
    for size in sizes:
        statistics.update(rows[start : start + size])
        start += size
    return statistics


@pytest.mark.parametrize("sizes", [[1000], [1] * 20 + [480, 500], [333, 0, 667]])
def test_streamed_is_whole(rng, sizes):
    rows = (5 + rng.standard_normal((1000, 24))).astype(np.float32)
    statistics = streamed(rows, sizes)
    wide = rows.astype(np.float64)
    assert statistics.count == 1000
    np.testing.assert_allclose(statistics.mean, wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        statistics.covariance, np.cov(wide, rowvar=False), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("split", [1, 10, 700])
def test_merged_hosts_are_one(rng, split):
    rows = rng.standard_normal((800, 16)) @ rng.standard_normal((16, 16)) + 100
    first, second = GaussianStatistics.of(rows[:split]), GaussianStatistics.of(rows[split:])
    merged, whole = first.merge(second), GaussianStatistics.of(rows)
    for result in (merged, GaussianStatistics.from_arrays(merged.arrays())):
        assert result.count == 800
        np.testing.assert_allclose(result.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(result.covariance, whole.covariance, rtol=1e-9, atol=1e-10)
    assert (first.count, second.count) == (split, 800 - split)
    np.testing.assert_allclose(second.merge(first).covariance, whole.covariance, rtol=1e-9)
    empty = GaussianStatistics(16)
    np.testing.assert_array_equal(empty.merge(whole).covariance, whole.covariance)


def test_memory_is_that_of_the_features(rng):
    statistics = GaussianStatistics(8)
    for _ in range(60):
        statistics.update(rng.standard_normal((500, 8)))
        held = sum(len(rows) for rows in statistics._pending) + len(statistics._factor)
        assert held <= 8 + 2048 + 500
    assert statistics.count == 30000
    assert np.abs(statistics.covariance - np.eye(8)).max() < 0.05


def test_a_large_mean_costs_no_digits(rng):
    """Sums of squares would lose the variance beside a mean of 1e8."""
    rows = rng.standard_normal((5000, 4))
    shifted = streamed(rows + 1e8, [1000] * 5)
    np.testing.assert_allclose(shifted.covariance, np.cov(rows, rowvar=False), atol=1e-6)


def test_published_moments(rng):
    x, y = rng.standard_normal((60, 8)), rng.standard_normal((70, 8)) + 1
    of_moments = GaussianStatistics.from_moments(x.mean(0), np.cov(x, rowvar=False), len(x))
    assert frechet_distance(of_moments, y) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    merged = of_moments.merge(GaussianStatistics.of(y))
    both = np.cov(np.concatenate([x, y]), rowvar=False)
    np.testing.assert_allclose(merged.covariance, both, rtol=1e-9, atol=1e-12)


def by_matrix_root(x, y):
    """The published toolkit's form."""
    c, e = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c @ e).real
    offset = x.mean(0) - y.mean(0)
    return offset @ offset + np.trace(c) + np.trace(e) - 2 * np.trace(root)


def by_eigenvalues(x, y):
    """By the eigenvalues of S E S, S the root of C, also where C E is singular."""
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    s = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    middle = np.linalg.eigvalsh(s @ np.cov(y, rowvar=False) @ s)
    offset = x.mean(0) - y.mean(0)
    trace = x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum()
    return offset @ offset + trace - 2 * np.sqrt(np.maximum(middle, 0)).sum()


@pytest.mark.parametrize("shape", [(200, 16), (60, 16), (100, 99)])
def test_frechet_distance(rng, shape):
    x = rng.standard_normal(shape) @ rng.standard_normal((shape[1], shape[1]))
    y = np.maximum(rng.standard_normal((150, shape[1])) + 0.5, 0)
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x, y), rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


@pytest.mark.parametrize("n,m,d", [(40, 30, 64), (100, 150, 256), (64, 65, 64), (30, 300, 64)])
def test_frechet_distance_of_fewer_clips_than_features(rng, n, m, d):
    x = np.maximum(rng.standard_normal((n, d)), 0)
    y = 2 * np.maximum(rng.standard_normal((m, d)), 0) + 1
    expected = by_eigenvalues(x, y)
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-4)
    of_batches = streamed(x, [7] * (n // 7) + [n % 7])
    assert frechet_distance(of_batches, GaussianStatistics.of(y)) == pytest.approx(
        expected, abs=1e-4
    )


def with_moments(rng, mean, factor, count=50):
    """Rows whose mean and covariance are exactly these: factor^T factor."""
    rows = rng.standard_normal((count, len(mean)))
    rows -= rows.mean(0)
    whitened = np.linalg.qr(rows)[0] * np.sqrt(count - 1)
    return whitened @ factor + mean


def test_closed_forms(rng):
    """Of covariances that commute: |m - n|^2 + sum (sqrt c - sqrt e)^2."""
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    c, e = rng.uniform(0.1, 3, (2, 6))
    m, n = rng.standard_normal((2, 6))
    x, y = with_moments(rng, m, np.diag(c) @ basis), with_moments(rng, n, np.diag(e) @ basis)
    expected = np.square(m - n).sum() + np.square(c - e).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    one, other = (rng.standard_normal((50, 1)) * s for s in (1, 2))
    expected = (one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected)


def test_invariances(rng):
    x, y = rng.standard_normal((50, 8)), 2 * rng.standard_normal((40, 8))
    distance = frechet_distance(x, y)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 3) == pytest.approx(8 * 9)
    rotation = scipy.stats.ortho_group.rvs(8, random_state=0)
    assert frechet_distance(x @ rotation + 5, y @ rotation + 5) == pytest.approx(distance)
    assert frechet_distance(x[::-1], rng.permutation(y)) == pytest.approx(distance)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * distance)


def test_what_has_no_statistics(rng):
    x = rng.standard_normal((20, 4))
    statistics = GaussianStatistics(4)
    statistics.update(x)
    for call, message in (
        (lambda: statistics.update(x[:, :3]), r"rows of shape \(20, 3\), 4 features expected"),
        (lambda: statistics.update(x * np.inf), "not finite"),
        (lambda: statistics.merge(GaussianStatistics(5)), "of 4 and of 5 features"),
        (lambda: GaussianStatistics.of(x[0]), r"an array of shape \(4,\)"),
        (lambda: GaussianStatistics.of(x[:1]).covariance, "needs at least 2"),
        (lambda: GaussianStatistics.from_moments(x[0], x, 5), "a mean .* with a covariance"),
        (lambda: GaussianStatistics.from_moments(x[0], np.eye(4), 1), "1 rows"),
        (lambda: frechet_distance(x, statistics.merge(statistics)), None),
        (lambda: frechet_distance(GaussianStatistics(4), x), "reference: 0 rows .* at least 2"),
        (lambda: frechet_distance(x, x[:1]), "generated: 1 rows of features, at least 2"),
        (lambda: frechet_distance(x, x[:, :3]), "of 4 and of 3 numbers"),
        (lambda: frechet_distance(x, x * np.nan), "generated: features that are not finite"),
    ):
        if message is None:
            assert call() > 0
            continue
        with pytest.raises(InputError, match=message):
            call()
    assert statistics.count == 20
