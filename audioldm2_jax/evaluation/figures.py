"""From features to figures: values, bootstrap intervals, and what N does to distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from audioldm2_jax.evaluation.features import Features
from audioldm2_jax.evaluation.metrics.bootstrap import interval
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance, frechet_infinity
from audioldm2_jax.evaluation.metrics.inception import inception_score
from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance
from audioldm2_jax.evaluation.metrics.kid import kernel_inception_distance
from audioldm2_jax.evaluation.metrics.kl import per_clip_kl
from audioldm2_jax.evaluation.protocol import EvalProtocol
from audioldm2_jax.evaluation.results import Figure

LADDER = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # shares of the clips
_FEWEST = 4  # clips of a step of the ladder


@dataclass(frozen=True)
class Sampling:
    """How intervals are drawn. resamples: 0 for none."""

    resamples: int = 200
    seed: int = 0


@dataclass
class Sets:
    """Features of both sets by one network. pairs: rows of clips [P], [P] that belong together."""

    generated: Features
    reference: Features
    pairs: tuple[np.ndarray, np.ndarray] | None = None
    _rows: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def rows(self, which: str, clips: np.ndarray) -> np.ndarray:
        """Embeddings of some clips of "generated" or "reference", one after another."""
        features: Features = getattr(self, which)
        if which not in self._rows:
            count, index = len(features.names), np.asarray(features.clip_index)
            order = np.argsort(index, kind="stable")
            self._rows[which] = np.split(order, np.searchsorted(index[order], np.arange(1, count)))
        return features.embeddings[np.concatenate([self._rows[which][i] for i in clips])]


def distance(metric: str, reference: np.ndarray, generated: np.ndarray) -> float:
    """FD and FAD: Frechet; KAD: kernel distance. Embeddings [N, D] and [M, D]."""
    if metric == "KAD":
        return kernel_audio_distance(reference, generated)
    return frechet_distance(reference, generated)


def distance_figure(metric: str, sets: Sets, sampling: Sampling, note: str) -> Figure:
    """A distance of the sets; its interval resamples generated clips, the reference is fixed."""
    reference, count = sets.reference.embeddings, len(sets.generated.names)

    def value(clips) -> float:
        return distance(metric, reference, sets.rows("generated", clips))

    whole = distance(metric, reference, sets.generated.embeddings)
    return Figure(metric, whole, *_interval(value, count, sampling), count, note)


def kid_figure(sets: Sets, protocol: EvalProtocol, note: str) -> Figure:
    """KID; its note has the standard deviation over subsets."""
    x, y = sets.reference.embeddings, sets.generated.embeddings
    size = min(protocol.kid_subset_size, len(x), len(y))
    mean, deviation = kernel_inception_distance(
        x, y, subsets=protocol.kid_subsets, size=size, seed=protocol.kid_seed
    )
    text = f"{protocol.kid_subsets} subsets of {size}, deviation {deviation:.2g}; {note}"
    return Figure("KID", mean, n=len(sets.generated.names), note=text)


def inception_figure(sets: Sets, protocol: EvalProtocol, note: str) -> Figure:
    """The Inception score of the generated clips; its note has the deviation over splits."""
    logits = sets.generated.logits
    assert logits is not None
    mean, deviation = inception_score(logits, splits=protocol.is_splits, seed=protocol.is_seed)
    text = f"{protocol.is_splits} splits, deviation {deviation:.2g}; {note}"
    return Figure("IS", mean, n=len(logits), note=text)


def infinity_figure(sets: Sets, note: str) -> tuple[Figure, list[list[float]]]:
    """FAD extrapolated to infinitely many clips, and the points (N, FAD) behind it."""
    value, r2, points = frechet_infinity(sets.reference.embeddings, sets.generated.embeddings)
    text = f"fit over 1/N with R2 {r2:.3f}; {note}"
    figure = Figure("FAD_inf", value, n=len(sets.generated.names), note=text)
    return figure, [[float(n), float(y)] for n, y in points]


def pair_scores(metric: str, sets: Sets, protocol: EvalProtocol) -> np.ndarray:
    """KL or KL_sigmoid of each pair [P], in the protocol's direction."""
    assert sets.pairs and sets.reference.logits is not None and sets.generated.logits is not None
    generated, reference = sets.pairs
    return per_clip_kl(
        sets.reference.logits[reference],
        sets.generated.logits[generated],
        independent=metric == "KL_sigmoid",
        direction=protocol.kl_direction,
        epsilon=protocol.kl_epsilon,
    )


def mean_figure(metric: str, scores: np.ndarray, sampling: Sampling, note: str = "") -> Figure:
    """The mean of scores of clips [N], those that are not finite left out and counted."""
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return Figure(metric, None, note="no clip has a finite score")
    if len(finite) < len(scores):
        left = len(scores) - len(finite)
        note = f"{left} clip{'s' * (left > 1)} without a score; {note}".rstrip("; ")
    low, high = _interval(lambda clips: float(finite[clips].mean()), len(finite), sampling)
    return Figure(metric, float(finite.mean()), low, high, len(finite), note)


def ladder(metric: str, sets: Sets, seed: int) -> list[list[float]]:
    """(N, distance) of ever larger random parts of both sets: how a distance falls with N.

    The parts are nested. The last one is both sets, cut to the smaller one's number of clips.
    """
    most = min(len(sets.generated.names), len(sets.reference.names))
    random = np.random.default_rng(seed)
    orders = {
        which: random.permutation(len(getattr(sets, which).names))[:most]
        for which in ("reference", "generated")
    }
    counts = sorted({max(_FEWEST, round(share * most)) for share in LADDER if most >= _FEWEST})
    return [
        [
            float(n),
            distance(metric, *(sets.rows(w, orders[w][:n]) for w in ("reference", "generated"))),
        ]
        for n in counts
    ]


def class_figures(
    labels: Sequence[Sequence[str]], scores: Mapping[str, np.ndarray], sampling: Sampling
) -> dict[str, list[Figure]]:
    """Means of clips' scores for each label. labels: of each clip; scores: {metric: [N]}.

    A clip counts for each of its labels. Labels in order of their names.
    """
    members: dict[str, list[int]] = {}
    for i, names in enumerate(labels):
        for name in names:
            members.setdefault(name, []).append(i)
    return {
        name: [
            mean_figure(metric, values[members[name]], sampling)
            for metric, values in scores.items()
        ]
        for name in sorted(members)
    }


def _interval(
    value: Callable[[np.ndarray], float], count: int, sampling: Sampling
) -> tuple[float | None, float | None]:
    if not sampling.resamples or count < 2:
        return None, None
    return interval(value, count, resamples=sampling.resamples, seed=sampling.seed)


def class_distances(
    metric: str, sets: Sets, labels: Mapping[str, Sequence[Sequence[str]]], note: str
) -> dict[str, Figure]:
    """A distance within each label that at least two clips of both sets have.

    labels: {"generated" or "reference": labels of each clip}.
    """
    members = {
        which: {
            name: np.array([i for i, names in enumerate(of_clips) if name in names])
            for name in {name for names in of_clips for name in names}
        }
        for which, of_clips in labels.items()
    }
    figures = {}
    for name in sorted(members["generated"].keys() & members["reference"].keys()):
        clips = {which: members[which][name] for which in members}
        if min(map(len, clips.values())) >= 2:
            parts = (sets.rows(which, clips[which]) for which in ("reference", "generated"))
            count = len(clips["generated"])
            figures[name] = Figure(metric, distance(metric, *parts), n=count, note=note)
    return figures
