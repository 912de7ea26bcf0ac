"""Retrieval of clips by texts and of texts by clips, in a joint embedding such as CLAP's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.clap import unit_rows
from audioldm2_jax.evaluation.metrics.inputs import check_widths

_BLOCK = 512  # queries at once


def relevant_ranks(
    queries, gallery, *, query_clips: Sequence[int] | None = None, gallery_clips=None
) -> list[np.ndarray]:
    """For each query the ascending ranks, from 1, of what belongs to it in the gallery, by cosine.

    queries: [Q, D]; gallery: [G, D]. query_clips [Q], gallery_clips [G]: the clip that each belongs
    to, its position where None; with five captions a clip, the captions' clips. Equal cosines rank
    against the query: embeddings that have collapsed retrieve nothing. Raises InputError for a
    query to which nothing belongs.
    """
    queries, gallery = unit_rows("queries", queries), unit_rows("gallery", gallery)
    check_widths(queries.shape[1], gallery.shape[1])
    query_clips = _clips("queries", query_clips, len(queries))
    gallery_clips = _clips("gallery", gallery_clips, len(gallery))
    ranks = []
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for i, similarity in enumerate(queries[rows] @ gallery.T, start):
            own = gallery_clips == query_clips[i]
            if not own.any():
                raise InputError(f"query {i}: nothing in the gallery belongs to it")
            mine = np.sort(similarity[own])[::-1]
            others = np.sort(similarity[~own])
            ahead = len(others) - np.searchsorted(others, mine, side="left")
            ranks.append(ahead + np.arange(1, len(mine) + 1))
    return ranks


def recall_at_k(
    queries, gallery, k: int, *, query_clips: Sequence[int] | None = None, gallery_clips=None
) -> float:
    """Share of queries with something of theirs among the k nearest; arguments as above.

    Texts as queries give text-to-audio R@k, clips as queries audio-to-text R@k. Chance is k / G for
    one each.
    """
    ranks = relevant_ranks(queries, gallery, query_clips=query_clips, gallery_clips=gallery_clips)
    return float(hits(ranks, k).mean())


def mean_average_precision(
    queries, gallery, k: int = 10, *, query_clips: Sequence[int] | None = None, gallery_clips=None
) -> float:
    """mAP@k: the mean of `average_precisions`; arguments as in `relevant_ranks`."""
    ranks = relevant_ranks(queries, gallery, query_clips=query_clips, gallery_clips=gallery_clips)
    return float(average_precisions(ranks, k).mean())


def hits(ranks: Sequence[np.ndarray], k: int) -> np.ndarray:
    """1 for each query with something of its own among the k nearest: [Q]. ranks: as above."""
    return np.array([float(r[0] <= k) for r in ranks])


def average_precisions(ranks: Sequence[np.ndarray], k: int) -> np.ndarray:
    """For each query the mean precision at each of its own among the k nearest: [Q].

    Divided by how many there could be, min(own, k); for one own it is 1 / rank.
    """
    return np.array([((np.arange(len(r)) + 1) / r)[r <= k].sum() / min(len(r), k) for r in ranks])


def recall_at_1(text_features, audio_features, group: int) -> float:
    """Share of texts whose nearest clip is their own, within groups of `group` pairs.

    text_features, audio_features: [N, D] of unit length; an incomplete last group is left out.
    Chance is 1 / group.
    """
    correct = []
    for start in range(0, len(text_features) - group + 1, group):
        rows = slice(start, start + group)
        similarity = text_features[rows] @ audio_features[rows].T
        correct += list(similarity.argmax(1) == np.arange(group))
    return float(np.mean(correct))


def _clips(name: str, clips, count: int) -> np.ndarray:
    clips = np.arange(count) if clips is None else np.asarray(clips)
    if clips.shape != (count,):
        raise InputError(f"{name}: {len(clips)} clips for {count} embeddings")
    return clips
