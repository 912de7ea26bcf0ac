"""The metrics against their definitions, written otherwise."""

import numpy as np
import pytest
import scipy.special
import torch

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.panns import ClassifierOutput
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.inception import inception_score
from audioldm2_jax.evaluation.metrics.kl import kl_divergence, per_clip_kl
from audioldm2_jax.evaluation.metrics.summary import distances, gap_closed


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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


def test_directions_of_kl(rng):
    p, q = 4 * rng.standard_normal((2, 30, 12))
    # stable-audio-metrics: F.kl_div of the reference's logarithms.
    soft = [torch.softmax(torch.tensor(x), -1) for x in (p, q)]
    expected = torch.nn.functional.kl_div((soft[0] + 1e-6).log(), soft[1], reduction="batchmean")
    reverse = kl_divergence(p, q, direction="generated||reference")
    assert reverse == pytest.approx(expected.item(), rel=1e-9)
    both = kl_divergence(p, q, direction="both")
    assert both == pytest.approx(kl_divergence(p, q) + reverse)
    exact = [np.sum(a * np.log(a / b)) for a, b in zip(*(x.numpy() for x in soft))]
    np.testing.assert_allclose(per_clip_kl(p, q, epsilon=0), exact, rtol=1e-9)
    assert kl_divergence(p[:1], q[:1]) == per_clip_kl(p, q)[0]
    rows = rng.permutation(30)
    assert kl_divergence(p[rows], q[rows]) == pytest.approx(kl_divergence(p, q))


def test_inception_score_is_bounded(rng):
    for scale in (0.1, 3, 100):
        mean, _ = inception_score(scale * rng.standard_normal((200, 7)), splits=4)
        assert 1 <= mean <= 7
    # More classes than clips of a split: at most N / splits.
    one_each = 1000.0 * np.eye(40)
    assert inception_score(one_each, splits=10) == pytest.approx((4, 0))
    logits = 3 * rng.standard_normal((100, 7))
    assert inception_score(logits, seed=1) != inception_score(logits, seed=2)
    # A single split does not depend on the order.
    single = inception_score(logits, splits=1)
    assert inception_score(logits[::-1], splits=1, seed=5) == pytest.approx(single)


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
        (lambda: kl_divergence(x, x[:10]), "KL takes pairs"),
        (lambda: kl_divergence(x[:0], x[:0]), "0 rows of features, at least 1"),
        (lambda: kl_divergence(x, x, direction="up"), "KL direction 'up': choose one of"),
        (lambda: kl_divergence(x, x * np.inf), "generated: features that are not finite"),
        (lambda: inception_score(x[:9]), "generated: 9 rows of features, at least 10"),
        (lambda: inception_score(x, splits=0), "0 splits"),
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
