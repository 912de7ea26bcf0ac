"""Accuracy, CLAP score and retrieval, on cases whose answer is known and by sorting."""

import numpy as np
import pytest
import torch

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.accuracy import top_1_accuracy
from audioldm2_jax.evaluation.metrics.clap import clap_score
from audioldm2_jax.evaluation.metrics.retrieval import (
    average_precisions,
    mean_average_precision,
    recall_at_1,
    recall_at_k,
    relevant_ranks,
)


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


def test_clap_score_is_torchs_cosine():
    texts, clips = np.random.default_rng(0).standard_normal((2, 9, 16))
    expected = torch.cosine_similarity(torch.tensor(texts), torch.tensor(clips)).numpy()
    np.testing.assert_allclose(clap_score(5 * texts, clips), expected, rtol=1e-9)
    assert clap_score(texts, texts) == pytest.approx(1)
    assert clap_score(texts, -2 * texts) == pytest.approx(-1)
    for pair, message in (
        ((texts, clips[:3]), "takes pairs"),
        ((texts * 0, clips), "texts: embedding 0 is all zeros"),
        ((texts[:0], clips[:0]), "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            clap_score(*pair)


def ranks_by_sorting(queries, gallery, query_clips, gallery_clips):
    """Ranks of what belongs to each query in its sorted list."""
    for q, clip in zip(queries, query_clips):
        cosines = gallery @ q / np.linalg.norm(gallery, axis=1)
        yield [r for r, g in enumerate(np.argsort(-cosines), 1) if gallery_clips[g] == clip]


@pytest.fixture
def captions():
    """Seven clips and their two to four captions, which resemble them somewhat."""
    rng = np.random.default_rng(0)
    clips = rng.standard_normal((7, 12))
    clip_of = rng.permutation(np.repeat(np.arange(7), [2, 3, 4, 2, 3, 4, 2]))
    return clips[clip_of] + 1.2 * rng.standard_normal((20, 12)), clips, clip_of


def test_retrieval_both_ways(captions):
    texts, clips, clip_of = captions
    for queries, gallery, options in (
        (texts, clips, dict(query_clips=clip_of)),
        (clips, texts, dict(gallery_clips=clip_of)),
    ):
        own = options.get("query_clips", np.arange(7)), options.get("gallery_clips", np.arange(7))
        expected = list(ranks_by_sorting(queries, gallery, *own))
        ranks = relevant_ranks(queries, gallery, **options)
        assert [r.tolist() for r in ranks] == expected
        for k in (1, 3, 10):
            share = np.mean([min(r) <= k for r in expected])
            assert recall_at_k(queries, gallery, k, **options) == share
            precisions = []
            for own_ranks in expected:
                relevant = np.isin(np.arange(1, k + 1), own_ranks)
                precision = np.cumsum(relevant) / np.arange(1, k + 1)
                precisions.append((precision * relevant).sum() / min(k, len(own_ranks)))
            result = mean_average_precision(queries, gallery, k, **options)
            assert result == pytest.approx(np.mean(precisions))


def test_retrieval_of_one_each():
    features = np.random.default_rng(0).standard_normal((6, 9))
    assert recall_at_k(features, 3 * features, 1) == 1
    assert mean_average_precision(features, features, 10) == 1
    reciprocal = average_precisions([np.array([1]), np.array([4]), np.array([11])], 10)
    assert reciprocal.tolist() == [1, 0.25, 0]
    texts, clips = np.random.default_rng(1).standard_normal((2, 500, 8))
    assert recall_at_k(texts, clips, 50) == pytest.approx(0.1, abs=0.05)
    assert recall_at_k(texts, clips, 500) == 1


def test_collapsed_embeddings_retrieve_nothing():
    same = np.ones((20, 4))
    assert recall_at_k(same, same, 10) == 0
    assert mean_average_precision(same, same, 10) == 0


def test_queries_without_an_answer():
    x = np.eye(3)
    with pytest.raises(InputError, match="query 2: nothing in the gallery"):
        recall_at_k(x, x[:2], 1)
    with pytest.raises(InputError, match="gallery: 2 clips for 3 embeddings"):
        recall_at_k(x, x, 1, gallery_clips=[0, 1])
