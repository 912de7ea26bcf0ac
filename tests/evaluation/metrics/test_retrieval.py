"""Accuracy and recall on cases whose answer is known."""

import numpy as np
import pytest

from audioldm2_jax.evaluation.metrics.accuracy import top_1_accuracy
from audioldm2_jax.evaluation.metrics.retrieval import recall_at_1


def test_top_1_accuracy():
    logits = np.array([[3.0, 1, 2], [0, 5, 1], [1, 2, 3], [9, 0, 0]])
    labels = ("bee", "fan", "owl")
    assert top_1_accuracy(logits, ["bee", "fan", "bee", "bee"], labels) == 0.75
    # Among two classes only the third clip's best one changes.
    assert top_1_accuracy(logits[:, :2], ["bee", "fan", "fan", "bee"], labels[:2]) == 1.0


def test_recall_at_1_is_within_groups():
    features = np.eye(4)
    assert recall_at_1(features, features, 2) == recall_at_1(features, features, 4) == 1.0
    swapped = features[[1, 0, 2, 3]]
    assert recall_at_1(features, swapped, 4) == 0.5
    wrong_last = np.concatenate([features[:3], features[:1]])
    assert recall_at_1(features, wrong_last, 3) == 1.0  # an incomplete group is left out


@pytest.mark.parametrize("group", [5, 20])
def test_chance(group):
    rng = np.random.default_rng(0)
    texts, clips = rng.standard_normal((2, 4000, 16))
    assert recall_at_1(texts, clips, group) == pytest.approx(1 / group, rel=0.25)
