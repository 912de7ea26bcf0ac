"""Figures follow the protocol's rules, whatever its name, and their intervals are possible."""

import dataclasses

import numpy as np
import pytest

from audioldm2_jax.evaluation import figures
from audioldm2_jax.evaluation.features import Features
from audioldm2_jax.evaluation.figures import Sampling, Sets
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.infinity import frechet_infinity
from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance
from audioldm2_jax.evaluation.protocol import PROTOCOLS, protocol_hash

ONCE = Sampling(resamples=0)


def features(count, *, scale=1.0, logits=None, width=3):
    random = np.random.default_rng(count)
    rows = (scale * random.standard_normal((count, width))).astype(np.float32)
    names = [f"{i}.wav" for i in range(count)]
    return Features(names, rows, np.arange(count), logits, "any", "", (), count, count)


def test_protocols_of_one_hash_have_one_kad_and_fad_inf():
    """The kernel's bandwidth and the draws are rules; the protocol's name is not."""
    sets = Sets(features(60, scale=2.0), features(50))
    x, y = sets.reference.embeddings, sets.generated.embeddings
    kads = {w: kernel_audio_distance(x, y, bandwidth=w) for w in ("reference", "generated")}
    assert len(set(kads.values())) == 2
    for name, bandwidth, replace in (
        ("kadtk", "generated", True),
        ("audioldm_eval", "reference", False),
    ):
        other = dataclasses.replace(PROTOCOLS[name], name="mine")
        assert protocol_hash(other) == protocol_hash(PROTOCOLS[name])
        drawn = frechet_infinity(x, y, points=25, least=15, replace=replace).value
        for protocol in (PROTOCOLS[name], other):
            figure = figures.distance_figure("KAD", sets, protocol, ONCE, "")
            assert figure.value == pytest.approx(kads[bandwidth], rel=1e-9)
            figure, _ = figures.infinity_figure(sets, protocol, ONCE, "")
            assert figure.value == drawn


def test_no_interval_ends_below_the_least_value_of_its_metric():
    """IS is at least 1, and a distance at least 0: moved intervals are cut off there."""
    protocol, sampling = PROTOCOLS["audioldm_eval"], Sampling(resamples=50)
    rows = 20 * np.eye(12, 4)  # splits of one clip and of two: most resamples' score is 1
    sets = Sets(features(12, logits=rows), features(24))
    figure = figures.inception_figure(sets, protocol, sampling, "")
    assert 1.0 == figure.low <= figure.value <= figure.high
    assert figures.inception_figure(sets, protocol, ONCE, "").low is None
    sets = Sets(features(24), features(24))
    assert figures.distance_figure("FD", sets, protocol, sampling, "").low == 0


def test_labels_that_repeat_count_a_clip_once():
    """Means and distances are of the same clips of a label; too few clips have no distance."""
    sets, protocol = Sets(features(30), features(24)), PROTOCOLS["audioldm_eval"]
    labels = [["rain", "rain"], ["dog", "rain"], ["dog"]] * 10
    scores = np.arange(30.0)
    means = figures.class_figures(labels, {"KL": scores}, ONCE)
    assert list(means) == ["dog", "rain"] and [m[0].n for m in means.values()] == [20, 20]
    rain = np.flatnonzero(np.arange(30) % 3 < 2)
    assert means["rain"][0].value == scores[rain].mean()
    of_sets = {"generated": labels, "reference": [["dog"]] * 4 + [["rain"]] * 20}
    distances = figures.class_distances("FD", sets, of_sets, protocol, "")
    assert list(distances) == ["rain"] and distances["rain"].n == 20
    x, y = sets.reference.embeddings[4:], sets.generated.embeddings[rain]
    assert distances["rain"].value == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_what_figures_share_is_computed_once(monkeypatch):
    """Statistics and bandwidth of the reference, and the value of whole sets, serve all figures."""
    calls = []
    statistics, median, frechet = (
        figures.GaussianStatistics.of,
        figures.median_distance,
        figures.frechet_distance,
    )

    def of(rows, *, name="features"):
        calls.append(("statistics", name))
        return statistics(rows, name=name)

    def median_distance(rows):
        calls.append(("median", len(rows)))
        return median(rows)

    def distance(reference, generated):
        calls.append(("frechet", generated.count))
        return frechet(reference, generated)

    monkeypatch.setattr(figures.GaussianStatistics, "of", of)
    monkeypatch.setattr(figures, "median_distance", median_distance)
    monkeypatch.setattr(figures, "frechet_distance", distance)
    generated = features(80)
    generated.names, generated.clip_index = generated.names[:40], np.arange(80) // 2
    sampling = Sampling(resamples=5)
    for name, medians in (("audioldm_eval", [90]), ("kadtk", [80, *[20] * 3, *[40] * 3])):
        sets, protocol = Sets(generated, features(90, scale=2.0)), PROTOCOLS[name]
        x, y = sets.reference.embeddings, sets.generated.embeddings
        whole = {"FAD": frechet(x, y)}
        whole["KAD"] = kernel_audio_distance(x, y, bandwidth=protocol.kad_bandwidth)
        calls.clear()
        for metric in ("FAD", "KAD"):
            figure = figures.distance_figure(metric, sets, protocol, sampling, "")
            steps = figures.ladder(metric, sets, protocol, figure.value, seed=0)
            assert figure.value == pytest.approx(whole[metric], rel=1e-9)
            assert [n for n, _ in steps] == [10, 20, 40] and steps[-1][1] == figure.value
            assert len({value for _, value in steps}) == 3 and figure.low < figure.high
        figures.infinity_figure(sets, protocol, sampling, "")
        assert calls.count(("statistics", "reference")) == 1
        assert [count for kind, count in calls if kind == "median"] == medians
        assert calls.count(("frechet", 80)) == 1
