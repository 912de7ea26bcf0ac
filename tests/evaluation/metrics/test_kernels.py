"""KID and KAD against their definitions in torch and NumPy, and their expectation of zero."""

import numpy as np
import pytest
import torch

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics import kad, kernels
from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance, median_distance
from audioldm2_jax.evaluation.metrics.kid import kernel_inception_distance


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mmd_by_loops(kernel, x, y):
    """Its definition, pair by pair."""
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    xy = sum(kernel(a, b) for a in x for b in y)
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def kid_by_subsets(x, y, subsets, size, seed):
    """The published order of draws: of the generated set first."""
    random, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        b = y[random.choice(len(y), size, replace=False)]
        a = x[random.choice(len(x), size, replace=False)]
        values.append(mmd_by_loops(lambda u, v: (u @ v / len(u) + 1) ** 3, a, b))
    return np.mean(values), np.std(values)


@pytest.mark.parametrize("subsets,size", [(5, 12), (2, 6)])
def test_kid_of_subsets(rng, subsets, size):
    """Few large sets share one kernel matrix, many small ones have their own."""
    x, y = rng.standard_normal((14, 5)), rng.standard_normal((18, 5)) + 0.5
    result = kernel_inception_distance(x, y, subsets=subsets, subset_size=size, seed=3)
    assert result == pytest.approx(kid_by_subsets(x, y, subsets, size, 3), rel=1e-9)


def test_kid_of_whole_sets(rng):
    x, y = rng.standard_normal((2, 15, 5))
    mean, deviation = kernel_inception_distance(x, y)
    assert (mean, deviation) == (pytest.approx(kid_by_subsets(x, y, 2, 15, 0)[0]), 0)
    # Of unequal sets the smaller is whole in every subset.
    mean, deviation = kernel_inception_distance(x, y[:10], subsets=3)
    assert deviation > 0 and mean == pytest.approx(kid_by_subsets(x, y[:10], 3, 10, 2020)[0])


def test_kad_in_torch(rng):
    x, y = torch.tensor(rng.standard_normal((30, 6))), torch.tensor(rng.standard_normal((25, 6)))
    y = 1.5 * y + 0.3

    def published(x, y, s):
        def k(a, b):
            return torch.exp(-(torch.cdist(a, b) ** 2) / (2 * s**2 + 1e-8))

        n, m = len(x), len(y)
        within = [(k(z, z).sum() - len(z)) / (len(z) * (len(z) - 1)) for z in (x, y)]
        return (100 * (sum(within) - 2 * k(x, y).sum() / (n * m))).item()

    for name, own in (("generated", y), ("reference", x)):
        s = torch.median(torch.pdist(own)).item()
        result = kernel_audio_distance(x.numpy(), y.numpy(), bandwidth=name)
        assert result == pytest.approx(published(x, y, s), rel=1e-9)
        assert kernel_audio_distance(x, y, bandwidth=s) == pytest.approx(result, rel=1e-9)
    assert kernel_audio_distance(x, y) == kernel_audio_distance(x, y, bandwidth="reference")


@pytest.mark.parametrize("rows", [2, 3, 4, 60, 61])
def test_median_is_torchs(rng, rows):
    x = rng.standard_normal((rows, 7))
    expected = torch.median(torch.pdist(torch.tensor(x))).item()
    assert median_distance(x) == pytest.approx(expected, rel=1e-12)


def test_median_without_all_distances_in_memory(rng, monkeypatch):
    monkeypatch.setattr(kernels, "_BLOCK", 1000)
    monkeypatch.setattr(kad, "_BINS", 8)
    x = np.concatenate([rng.standard_normal((150, 3)), 100 + rng.standard_normal((70, 3))])
    assert median_distance(x, at_once=10) == median_distance(x)
    # Equal rows: more equal distances than memory holds.
    x = np.repeat(np.eye(3), 40, 0)
    assert median_distance(x, at_once=10) == pytest.approx(np.sqrt(2))
    assert median_distance(np.ones((40, 3)), at_once=10) == 0


def test_blocks_change_nothing(rng, monkeypatch):
    x, y = rng.standard_normal((50, 6)), rng.standard_normal((70, 6)) + 0.2
    whole = kernel_audio_distance(x, y), kernel_inception_distance(x, y, subset_size=20)[0]
    monkeypatch.setattr(kernels, "_BLOCK", 300)
    parts = kernel_audio_distance(x, y), kernel_inception_distance(x, y, subset_size=20)[0]
    assert parts == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    "distance",
    [lambda x, y: kernel_inception_distance(x, y, subsets=1)[0], kernel_audio_distance],
)
def test_unbiased_at_small_n(rng, distance):
    """Of one distribution the mean over draws is zero, with values of either sign."""
    values = np.array([distance(*rng.standard_normal((2, 12, 4))) for _ in range(400)])
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    assert 0.2 < (values < 0).mean() < 0.9
    shifted = [distance(x, y + 1) for x, y in rng.standard_normal((100, 2, 12, 4))]
    assert np.mean(shifted) > 20 * error


def test_invariances(rng):
    x, y = rng.standard_normal((20, 6)), rng.standard_normal((25, 6)) + 0.5
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    value = kernel_audio_distance(x, y)
    assert kernel_audio_distance(7 + x @ rotation, 7 + y @ rotation) == pytest.approx(value)
    assert kernel_audio_distance(10 * x, 10 * y) == pytest.approx(value)
    assert kernel_audio_distance(x[::-1], rng.permutation(y)) == pytest.approx(value)
    by_kid = kernel_inception_distance(x, y, subset_size=1000, subsets=1)[0]
    turned = kernel_inception_distance(x @ rotation, y @ rotation, subsets=1)[0]
    assert turned == pytest.approx(by_kid)
    # All clips the same: a kernel of no width, and a value all the same.
    assert np.isfinite(kernel_audio_distance(np.ones((5, 6)), y))


def test_what_cannot_be_measured(rng):
    x = rng.standard_normal((20, 4))
    for call, message in (
        (lambda: kernel_inception_distance(x[:1], x), "reference: 1 rows .* at least 2"),
        (lambda: kernel_inception_distance(x, x, subset_size=1), "at least 1 of 2"),
        (lambda: kernel_audio_distance(x, x[:1]), "generated: 1 rows .* at least 2"),
        (lambda: kernel_audio_distance(x, x[:, :2]), "of 4 and of 2 numbers"),
        (lambda: kernel_audio_distance(x, x, bandwidth="both"), "bandwidth 'both'"),
        (lambda: median_distance(x[:1]), "needs at least 2"),
    ):
        with pytest.raises(InputError, match=message):
            call()
