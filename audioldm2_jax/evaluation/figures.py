"""From features to figures: values, bootstrap intervals, and what N does to distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from audioldm2_jax.evaluation.features import Features
from audioldm2_jax.evaluation.judges import Scores
from audioldm2_jax.evaluation.metrics.bootstrap import (
    interval,
    percentiles,
    resample_counts,
    rows_of_clips,
)
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance, resampled_distances
from audioldm2_jax.evaluation.metrics.inception import inception_score
from audioldm2_jax.evaluation.metrics.infinity import frechet_infinity
from audioldm2_jax.evaluation.metrics.infinity import ladder as metric_ladder
from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance, median_distance
from audioldm2_jax.evaluation.metrics.kernels import cubic, gaussian, unbiased_mmd
from audioldm2_jax.evaluation.metrics.kid import kernel_inception_distance
from audioldm2_jax.evaluation.metrics.kl import per_clip_kl
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics
from audioldm2_jax.evaluation.protocol import EvalProtocol
from audioldm2_jax.evaluation.results import Figure

_FEWEST = 8  # clips of a class or of a step of a ladder that a distance is computed of
_POINTS = 25  # of an extrapolation, from 500 rows on, as fadtk draws them
_ROWS = 500
LEAST_ROWS = 32  # of features that an extrapolation starts with


@dataclass(frozen=True)
class Sampling:
    """How intervals are drawn. resamples: 0 for none."""

    resamples: int = 200
    seed: int = 0


@dataclass
class Rows:
    """Embeddings [N, D] of a set, with what distances take of them, each computed once."""

    embeddings: np.ndarray
    name: str = "features"  # in messages
    moments: GaussianStatistics | None = None  # of all rows, where these are a part

    @cached_property
    def statistics(self) -> GaussianStatistics:
        """Mean and covariance. Raises InputError for numbers that are not finite."""
        return self.moments or GaussianStatistics.of(self.embeddings, name=self.name)

    @cached_property
    def median(self) -> float:
        """The median distance between two rows. Raises InputError for fewer than two."""
        return median_distance(np.asarray(self.embeddings, np.float64))


@dataclass
class Sets:
    """Features of both sets by one network. pairs: rows of clips [P], [P] that belong together."""

    generated: Features
    reference: Features
    pairs: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def generated_rows(self) -> Rows:
        """The rows of the generated clips."""
        return Rows(self.generated.embeddings, "generated", self.generated.moments)

    @cached_property
    def reference_rows(self) -> Rows:
        """The rows of the reference clips."""
        return Rows(self.reference.embeddings, "reference", self.reference.moments)

    def part_note(self, *, moments: bool = False) -> str:
        """What a figure's note says of sets of which a part is held; "" for others.

        moments: whether the figure itself takes the moments of all clips.
        """
        parts = [
            f"{len(f.names)} of {f.count} {name} clips"
            for name, f in (("generated", self.generated), ("reference", self.reference))
            if not f.is_whole
        ]
        if not parts:
            return ""
        return f"{'interval and parts of the set' if moments else 'computed'} of {', '.join(parts)}"

    def rows(self, which: str, clips: np.ndarray) -> Rows:
        """Rows of some clips of "generated" or "reference", one clip after another."""
        features: Features = getattr(self, which)
        rows = rows_of_clips(np.asarray(features.clip_index), clips)
        return Rows(features.embeddings[rows], which)


def distance(metric: str, reference: Rows, generated: Rows, protocol: EvalProtocol) -> float:
    """FD or FAD: the Frechet distance; KAD: the kernel distance, by the protocol's bandwidth."""
    if metric != "KAD":
        return frechet_distance(reference.statistics, generated.statistics)
    return kernel_audio_distance(
        reference.embeddings,
        generated.embeddings,
        bandwidth=_bandwidth(reference, generated, protocol),
    )


def distance_figure(
    metric: str, sets: Sets, protocol: EvalProtocol, sampling: Sampling, note: str
) -> Figure:
    """A distance of the sets; its interval resamples generated clips, the reference is fixed."""
    reference, generated = sets.reference_rows, sets.generated_rows
    x, y = reference.embeddings, generated.embeddings
    value = distance(metric, reference, generated, protocol)
    counts = _counts(sets, sampling)
    low = high = None
    if counts is not None and metric == "KAD":
        kernel = gaussian(_bandwidth(reference, generated, protocol))
        low, high = _kernel_interval(kernel, x, y, counts, value, scale=100)
    elif counts is not None:
        low, high = percentiles(resampled_distances(reference.statistics, y, counts), centre=value)
        low = max(0.0, low)
    features, of_all = sets.generated, metric != "KAD"
    rows, count = (features.rows, features.count) if of_all else (len(y), len(features.names))
    note = f"{rows} rows of {y.shape[1]} features; {note}"
    return Figure(metric, value, low, high, count, note)


def kid_figure(sets: Sets, protocol: EvalProtocol, sampling: Sampling, note: str) -> Figure:
    """KID over subsets; its interval is that of the distance of whole sets, moved to the value."""
    x, y = sets.reference.embeddings, sets.generated.embeddings
    value, deviation = kernel_inception_distance(
        x,
        y,
        subsets=protocol.kid_subsets,
        subset_size=protocol.kid_subset_size,
        seed=protocol.kid_seed,
    )
    counts, low, high = _counts(sets, sampling), None, None
    if counts is not None:
        low, high = _kernel_interval(cubic, x, y, counts, value)
    size = min(protocol.kid_subset_size, len(x), len(y))
    text = f"{protocol.kid_subsets} subsets of {size}, deviation {deviation:.2g}; {note}"
    return Figure("KID", value, low, high, len(sets.generated.names), text)


def _counts(sets: Sets, sampling: Sampling) -> np.ndarray | None:
    """How often each resample of clips holds each row: [F, S]; None without intervals."""
    clips = len(sets.generated.names)
    if sampling.resamples < 2 or clips < 2:
        return None
    counts = resample_counts(clips, resamples=sampling.resamples, seed=sampling.seed)
    return counts[np.asarray(sets.generated.clip_index)]


def _kernel_interval(kernel, x, y, counts, value: float, *, scale: float = 1.0):
    """The interval of a kernel distance around its value."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centre = x.mean(0) if kernel is not cubic else 0.0  # distances cancel less so
    values = scale * unbiased_mmd(kernel, x - centre, y - centre, y_counts=counts)
    return percentiles(values, centre=value)


def _bandwidth(reference: Rows, generated: Rows, protocol: EvalProtocol) -> float:
    """KAD's: the median distance within the protocol's set."""
    return (generated if protocol.kad_bandwidth == "generated" else reference).median


def inception_figure(sets: Sets, protocol: EvalProtocol, sampling: Sampling, note: str) -> Figure:
    """The Inception score of the generated clips; its note has the deviation over splits."""
    logits, splits = sets.generated.logits, {"splits": protocol.is_splits, "seed": protocol.is_seed}
    value, deviation = inception_score(logits, **splits)

    def resampled(clips) -> float:
        return inception_score(logits[clips], **splits)[0]

    text, count = f"{protocol.is_splits} splits, deviation {deviation:.2g}; {note}", len(logits)
    if count < 2 * protocol.is_splits:
        text = f"near 1 whatever the clips: splits of one clip; {text}"
    low, high = _interval(resampled, count, sampling, value)
    low = low if low is None else max(1.0, low)  # no score is below 1
    return Figure("IS", value, low, high, count, text)


def infinity_figure(
    sets: Sets, protocol: EvalProtocol, sampling: Sampling, note: str
) -> tuple[Figure, list[list[float]]]:
    """FAD extrapolated to infinitely many clips, and the points (rows, FAD) behind it."""
    rows = len(sets.generated.embeddings)
    if rows < LEAST_ROWS:
        note = f"{rows} patches; the extrapolation takes at least {LEAST_ROWS}"
        return Figure("FAD_inf", None, note=note), []
    least = min(_ROWS, rows // 4)
    fit = frechet_infinity(
        sets.reference_rows.statistics,
        sets.generated.embeddings,
        points=min(_POINTS, rows - least),
        least=least,
        replace=protocol.fad_inf_replace,
        seed=sampling.seed,
    )
    note = f"from {least} to {rows} patches, R2 {fit.r2:.3f}; {note}"
    count = len(sets.generated.names)
    return Figure("FAD_inf", fit.value, n=count, note=note), [[n, y] for n, y in fit.points]


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
        return Figure(metric, None, note=f"no clip has a finite score; {note}".rstrip("; "))
    if len(finite) < len(scores):
        left = len(scores) - len(finite)
        note = f"{left} clip{'s' * (left > 1)} without a score; {note}".rstrip("; ")
    low, high = _interval(lambda clips: float(finite[clips].mean()), len(finite), sampling)
    return Figure(metric, float(finite.mean()), low, high, len(finite), note)


def judged_figure(metric: str, scores: Scores, sampling: Sampling, note: str) -> Figure:
    """The weighted mean of a judge's scores."""
    judged = scores.judged
    if not len(judged):
        return Figure(metric, None, note=f"no clip could be judged; {note}")
    low, high = _interval(lambda i: scores.mean(judged[i]), len(judged), sampling)
    return Figure(metric, scores.mean(), low, high, len(judged), note)


def ladder(
    metric: str, sets: Sets, protocol: EvalProtocol, value: float, seed: int
) -> list[list[float]]:
    """(N, distance) of ever larger parts of the generated set: how a distance falls with N.

    The reference is whole; several parts of each size are averaged. value: the distance of the
    whole set, its last step. [] for few clips.
    """
    count = len(sets.generated.names)
    if count < 2 * _FEWEST:
        return []

    def part(clips) -> float:
        return distance(metric, sets.reference_rows, sets.rows("generated", clips), protocol)

    # Of a part of the set, its own distance is the last step.
    whole = value if sets.generated.is_whole else None
    steps = metric_ladder(part, count, whole=whole, seed=seed)
    return [[size, mean] for size, mean, _ in steps]


def class_figures(
    labels: Sequence[Sequence[str]], scores: Mapping[str, np.ndarray], sampling: Sampling
) -> dict[str, list[Figure]]:
    """Means of clips' scores for each label. labels: of each clip; scores: {metric: [N]}.

    A clip counts for each of its labels. Labels in order of their names.
    """
    members = _members(labels)
    return {
        name: [
            mean_figure(metric, values[members[name]], sampling)
            for metric, values in scores.items()
        ]
        for name in sorted(members)
    }


def _members(labels: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Positions of the clips of each label. labels: of each clip; one that repeats counts once."""
    members: dict[str, list[int]] = {}
    for i, names in enumerate(labels):
        for name in dict.fromkeys(names):
            members.setdefault(name, []).append(i)
    return {name: np.array(clips) for name, clips in members.items()}


def _interval(
    value: Callable[[np.ndarray], float],
    count: int,
    sampling: Sampling,
    centre: float | None = None,
) -> tuple[float | None, float | None]:
    if sampling.resamples < 2 or count < 2:
        return None, None
    options = {"resamples": sampling.resamples, "seed": sampling.seed}
    low, high = interval(value, count, centre=centre, **options)
    return (low, high) if np.isfinite(low) else (None, None)


def class_distances(
    metric: str,
    sets: Sets,
    labels: Mapping[str, Sequence[Sequence[str]]],
    protocol: EvalProtocol,
    note: str,
) -> dict[str, Figure]:
    """A distance within each label that enough clips of both sets have.

    labels: {"generated" or "reference": labels of each clip}.
    """
    members = {which: _members(of_clips) for which, of_clips in labels.items()}
    figures = {}
    for name in sorted(members["generated"].keys() & members["reference"].keys()):
        clips = {which: members[which][name] for which in members}
        if min(map(len, clips.values())) >= _FEWEST:
            rows = (sets.rows(which, clips[which]) for which in ("reference", "generated"))
            value = distance(metric, *rows, protocol)
            figures[name] = Figure(metric, value, n=len(clips["generated"]), note=note)
    return figures
