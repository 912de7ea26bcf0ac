"""What is held of many clips: never more than allowed, the moments of all, pairs together."""

import weakref

import numpy as np
import pytest

from audioldm2_jax.evaluation import features
from audioldm2_jax.evaluation import reservoir as module
from audioldm2_jax.evaluation.backbones.base import ClipOutput
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics
from audioldm2_jax.evaluation.reservoir import Reservoir
from tests.evaluation.test_features import Patches, Rules, Set

CLIPS = 20


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "CLIPS", CLIPS)


def outputs(count, rows=3, width=4, seed=0, suffix="wav"):
    """{name: output} of clips with 1 to `rows` rows each."""
    rng = np.random.default_rng(seed)
    return {
        f"{i:03}.{suffix}": ClipOutput(
            rng.standard_normal((1 + i % rows, width)).astype(np.float32),
            rng.standard_normal(5).astype(np.float32),
        )
        for i in range(count)
    }


def hold(clips):
    reservoir = Reservoir()
    for name, output in clips.items():
        reservoir.add(name, output)
    return reservoir


def all_rows(clips):
    return np.concatenate([output.embeddings for output in clips.values()])


def check_moments(reservoir, clips):
    expected = GaussianStatistics.of(all_rows(clips))
    assert reservoir.moments.count == reservoir.rows == expected.count
    np.testing.assert_allclose(reservoir.moments.mean, expected.mean, atol=1e-12)
    np.testing.assert_allclose(reservoir.moments.covariance, expected.covariance, atol=1e-12)


def test_few_clips_are_held_as_they_are():
    clips = outputs(CLIPS)
    reservoir = hold(dict(reversed(clips.items())))
    assert [name for name, _ in reservoir] == list(clips) and reservoir.moments is None
    assert all(output is clips[name] for name, output in reservoir)
    assert (reservoir.count, reservoir.rows) == (CLIPS, len(all_rows(clips)))


def test_of_many_a_part_is_held_and_the_moments_of_all():
    clips = outputs(90)
    reservoir = hold(clips)
    names = [name for name, _ in reservoir]
    assert len(names) == CLIPS and reservoir.count == 90
    check_moments(reservoir, clips)
    # The part is drawn by name: of other orders and suffixes the same, so that pairs stay together.
    again = outputs(90, suffix="flac")
    turned = hold({f"folder/{name}": again[name] for name in sorted(again)[::-1]})
    assert [n[7:10] for n, _ in turned] == [n[:3] for n in names]
    assert names != list(clips)[:CLIPS]


@pytest.mark.parametrize("cuts", [[45], [5], [10, 30], [0, 0]])
def test_hosts_hold_together_what_one_holds(cuts):
    clips = outputs(90 if cuts != [10, 30] else 32)
    whole, together = hold(clips), Reservoir()
    for part in np.split(np.array(list(clips)), cuts):
        share = hold({name: clips[name] for name in part})
        together.merge(Reservoir.decode(share.encode()))
    assert (together.count, together.rows) == (whole.count, whole.rows)
    for (name, output), (other, expected) in zip(together, whole, strict=True):
        assert name == other
        np.testing.assert_array_equal(output.embeddings, expected.embeddings)
        np.testing.assert_array_equal(output.logits, expected.logits)
    check_moments(together, clips)


def test_long_clips_count_by_their_numbers(monkeypatch):
    monkeypatch.setattr(module, "VALUES", 100)
    clips = outputs(15, rows=3, width=4)
    reservoir = hold(clips)
    values = sum(o.embeddings.size + o.logits.size for _, o in reservoir)
    assert 60 < values <= 100
    check_moments(reservoir, clips)
    # A clip of more numbers than allowed is held alone.
    monkeypatch.setattr(module, "VALUES", 1)
    assert len(list(hold(clips))) == 1


def test_a_thousand_clips_need_no_more_than_a_hundred(monkeypatch):
    """Counted are the outputs that are alive whenever the network returns new ones."""
    monkeypatch.setattr(features, "_CLIPS", 1 / 4)  # of eight devices: two clips at once
    alive: list = []

    class Counted(Patches):
        most = 0

        def __call__(self, waveforms):
            results = super().__call__(waveforms)
            alive[:] = [array for array in alive if array() is not None]
            alive.extend(weakref.ref(output.embeddings) for output in results)
            self.most = max(self.most, len(alive))
            return results

    most = []
    for count in (100, 1000):
        alive.clear()
        waves = np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)
        network = Counted()
        result = features.extract(
            Set({f"{i:04}": wave for i, wave in enumerate(waves)}), network, Rules()
        )
        assert (result.count, result.rows, len(result.names)) == (count, count, CLIPS)
        np.testing.assert_allclose(result.moments.mean, waves[:, :2].mean(0), atol=1e-6)
        most.append(network.most)
    assert most[0] == most[1] <= CLIPS + 4
