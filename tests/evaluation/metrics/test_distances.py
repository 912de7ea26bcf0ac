"""The metrics against their definitions, written otherwise."""

import numpy as np
import pytest
import scipy.linalg
import torch

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.panns import ClassifierOutput
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.inception import inception_score
from audioldm2_jax.evaluation.metrics.kl import kl_divergence
from audioldm2_jax.evaluation.metrics.summary import distances, gap_closed


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_matrix_root(x, y):
    """The published toolkit's form."""
    c, e = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c @ e).real
    offset = x.mean(0) - y.mean(0)
    return offset @ offset + np.trace(c) + np.trace(e) - 2 * np.trace(root)


@pytest.mark.parametrize("shape", [(200, 16), (60, 16), (100, 99)])
def test_frechet_distance(rng, shape):
    x = rng.standard_normal(shape) @ rng.standard_normal((shape[1], shape[1]))
    y = np.maximum(rng.standard_normal((150, shape[1])) + 0.5, 0)
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x, y), rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_frechet_distance_of_fewer_clips_than_features(rng):
    """By the eigenvalues of S E S, S the root of C, where C E is singular."""
    x, y = rng.standard_normal((40, 64)), 2 * rng.standard_normal((30, 64)) + 1
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    s = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    middle = np.linalg.eigvalsh(s @ np.cov(y, rowvar=False) @ s)
    offset = x.mean(0) - y.mean(0)
    trace = x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum()
    expected = offset @ offset + trace - 2 * np.sqrt(np.maximum(middle, 0)).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_shift(rng):
    """Of equal covariances it is the squared distance of the means."""
    x = rng.standard_normal((50, 8))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 3) == pytest.approx(8 * 9)


def test_kl_divergence(rng):
    p, q = 4 * rng.standard_normal((2, 30, 12))
    soft = [torch.softmax(torch.tensor(x), -1) for x in (p, q)]
    expected = torch.nn.functional.kl_div((soft[1] + 1e-6).log(), soft[0], reduction="none")
    assert kl_divergence(p, q) == pytest.approx(expected.sum(-1).mean().item(), rel=1e-9)
    each = [torch.sigmoid(torch.tensor(x)) for x in (p, q)]
    expected = (each[0] * (each[0].log() - (each[1] + 1e-6).log())).sum(-1).mean().item()
    assert kl_divergence(p, q, independent=True) == pytest.approx(expected, rel=1e-9)
    assert kl_divergence(p, p) == pytest.approx(0, abs=2e-5)
    assert kl_divergence(p, q) != pytest.approx(kl_divergence(q, p), rel=0.01)
    assert np.isfinite(kl_divergence(1000 * p, 1000 * q))


def test_inception_score():
    """Of confident answers, evenly over classes, it is their number; of indifferent ones 1."""
    even = 100.0 * np.eye(5)[np.arange(5000) % 5]
    assert inception_score(even)[0] == pytest.approx(5, rel=0.01)
    mean, deviation = inception_score(np.zeros((50, 5)))
    assert mean == pytest.approx(1) and deviation == pytest.approx(0)
    logits = 3 * np.random.default_rng(1).standard_normal((83, 7))
    rows, scores = np.random.RandomState(2020).permutation(83), []
    for i in range(10):
        p = scipy.special.softmax(logits[rows[i * 83 // 10 : (i + 1) * 83 // 10]], -1)
        gains = [np.sum(r * np.log(r / p.mean(0))) for r in p]
        scores.append(np.exp(np.mean(gains)))
    assert inception_score(logits) == pytest.approx((np.mean(scores), np.std(scores)))


def test_what_cannot_be_measured(rng):
    x = rng.standard_normal((20, 4))
    for call, message in (
        (lambda: frechet_distance(x[:1], x), "reference: .* at least two rows"),
        (lambda: frechet_distance(x, x[:, :3]), "of 4 and of 3 numbers"),
        (lambda: frechet_distance(x, x * np.nan), "generated: features that are not finite"),
        (lambda: kl_divergence(x, x[:10]), "KL takes pairs"),
        (lambda: inception_score(x[:9]), "9 clips: the inception score takes at least 10"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_sets_against_a_reference(rng):
    outputs = {
        name: ClassifierOutput(rng.standard_normal((20, 4)), 3 * rng.standard_normal((20, 5)))
        for name in ("real", "generated", "noise")
    }
    rows = distances(outputs, "real")
    assert set(rows) == {"generated", "noise"}
    real, generated = outputs["real"], outputs["generated"]
    assert rows["generated"] == {
        "FD": frechet_distance(real.embeddings, generated.embeddings),
        "KL": kl_divergence(real.logits, generated.logits),
        "IS": inception_score(generated.logits)[0],
    }


def test_gap_closed():
    assert gap_closed(4.0, worst=10.0, best=2.0) == 0.75
    assert gap_closed(6.0, worst=2.0, best=10.0) == 0.5
    assert np.isnan(gap_closed(1.0, 2.0, 2.0))
