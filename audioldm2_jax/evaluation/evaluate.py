"""Generated clips against a reference set: all figures that weights and data allow."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import scipy

from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import figures as compute
from audioldm2_jax.evaluation.captioned import CaptionedClips
from audioldm2_jax.evaluation.clips import Clip, ClipSet, Pairs, open_clips, pair
from audioldm2_jax.evaluation.features import Features, extract_all
from audioldm2_jax.evaluation.figures import Sampling, Sets
from audioldm2_jax.evaluation.judged import judge_clips
from audioldm2_jax.evaluation.kinds import KINDS, too_few
from audioldm2_jax.evaluation.plan import Network, Plan, check_data, plan_evaluation
from audioldm2_jax.evaluation.protocol import EvalProtocol, protocol_hash
from audioldm2_jax.evaluation.results import EvalResult, Figure
from audioldm2_jax.evaluation.settings import evaluation_settings, without_clips
from audioldm2_jax.evaluation.waveform_pairs import (
    PAIR_LOADER,
    RECONSTRUCTION,
    pair_note,
    waveform_scores,
)
from audioldm2_jax.log import Counter
from audioldm2_jax.version import __version__

DISTANCES = ("FD", "FAD", "KAD")
PAIRED = ("KL", "KL_sigmoid")


def evaluate(
    generated: ClipSet | str | Path,
    reference: ClipSet | str | Path,
    protocol: EvalProtocol,
    metrics: str | Sequence[str] = "all",
    weights: Mapping[str, str | Path] | None = None,
    *,
    limit: int | None = None,
    bootstrap: int = 200,
    seed: int = 0,
    cache: Path | None = None,
    generation: dict | None = None,
    progress: bool = True,
) -> EvalResult:
    """All figures of a set of clips.

    generated, reference: sets, or folders and corpora that `clips.open_clips` takes. metrics,
    weights: as of `plan.plan_evaluation`. limit: only the first clips by name. bootstrap: resamples
    of intervals, 0 for none; seed: of these and of the parts of sets behind ladders. cache: a
    folder of features by content, so that a stopped run goes on. generation: the manifest of clips
    that were generated for this (`generated.generate_clips`).

    Raises InputError, before any clip is read for a network, for sets that are empty, for weights
    that cannot be used, and for metrics asked for by name for which networks, pairs, texts or clips
    are lacking. What only features show is the note of a figure without a value.
    """
    plan = plan_evaluation(protocol, metrics, weights)
    sets = [
        clips if isinstance(clips, ClipSet) else open_clips(clips, plan.protocol, limit=limit)
        for clips in (generated, reference)
    ]
    sampling = Sampling(bootstrap, seed)
    return run_plan(plan, *sets, sampling, cache=cache, generation=generation, progress=progress)


def run_plan(
    plan: Plan,
    generated: ClipSet,
    reference: ClipSet,
    sampling: Sampling,
    *,
    cache: Path | None = None,
    generation: dict | None = None,
    progress: bool = True,
) -> EvalResult:
    """Figures of a checked plan; arguments as of `evaluate`. Raises InputError as it does."""
    for clips in (generated, reference):
        _inspect(clips, progress)
    pairs = pair(generated, reference, plan.protocol)
    check_data(plan, usable(generated), usable(reference), pairs)
    work = _Work(plan, generated, reference, pairs, sampling, cache, progress)
    for networks in plan.readers():
        work.add_networks(networks)
    work.add_waveforms()
    work.add_judges()
    return work.result(generation)


@dataclass
class _Work:
    """Figures as they are computed."""

    plan: Plan
    generated: ClipSet
    reference: ClipSet
    pairs: Pairs
    sampling: Sampling
    cache: Path | None
    progress: bool
    figures: dict[str, Figure] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)  # of generated clips, NaN: none
    ladders: dict[str, list[list[float]]] = field(default_factory=dict)
    class_distances: dict[str, dict[str, Figure]] = field(default_factory=dict)
    backbones: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        columns = zip(self.pairs.generated, self.pairs.reference)
        self.mates = {self.generated.clips[i].name: self.reference.clips[j] for i, j in columns}
        self.index = {clip.name: i for i, clip in enumerate(self.generated.clips)}

    def add_networks(self, networks: Sequence[Network]) -> None:
        """Figures of the metrics that networks of one reader serve; each clip is read once."""
        backbones, rules = [n.backbone for n in networks], networks[0].spec.loader
        sides = [
            extract_all(clips, backbones, rules, cache=self.cache, progress=self.progress)
            for clips in (self.generated, self.reference)
        ]
        for network, generated, reference in zip(networks, *sides):
            self._add_network(network, generated, reference)

    def _add_network(self, network: Network, generated: Features, reference: Features) -> None:
        spec = network.spec
        self.backbones[f"{spec.name} {spec.weights}"] = network.backbone.sha256
        metrics = [
            m for m in self.plan.present(*self.plan.networks) if self.plan.networks[m] == network
        ]
        sets = Sets(generated, reference, self._pair_rows(generated, reference))
        captioned = self._captioned(generated, network)
        for metric in metrics:
            least = KINDS[metric].least
            readable = min(generated.count, reference.count)
            if readable < least:
                note = too_few(readable, least, "readable clip")
                self.figures[metric] = Figure(metric, None, note=note)
                continue
            try:
                if KINDS[metric].captions:
                    self._add_text(metric, captioned, spec.weights)
                else:
                    self._add(metric, sets, spec.name)
            except InputError as error:  # what the other figures need not suffer for
                self.figures[metric] = Figure(metric, None, note=str(error))
            if part := sets.part_note(moments=metric in ("FD", "FAD")):
                figure = self.figures[metric]
                note = f"{part}; {figure.note}".rstrip("; ")
                self.figures[metric] = dataclasses.replace(figure, note=note)

    def _pair_rows(self, generated: Features, reference: Features):
        """Rows of readable clips that belong together, or None for sets that are not paired."""
        if not self.pairs.is_paired:
            return None
        rows = {name: i for i, name in enumerate(reference.names)}
        together = [
            (i, rows[mate.name])
            for i, name in enumerate(generated.names)
            if (mate := self.mates.get(name)) is not None and mate.name in rows
        ]
        return tuple(np.array(together, int).reshape(-1, 2).T)

    def _add(self, metric: str, sets: Sets, note: str) -> None:
        protocol, sampling = self.plan.protocol, self.sampling
        if metric in DISTANCES:
            labels = self._labels(sets)
            figure = compute.distance_figure(metric, sets, protocol, sampling, note)
            self.ladders[metric] = compute.ladder(
                metric, sets, protocol, figure.value, sampling.seed
            )
            self.class_distances[metric] = compute.class_distances(
                metric, sets, labels, protocol, note
            )
        elif metric == "FAD_inf":
            figure, self.ladders[metric] = compute.infinity_figure(sets, protocol, sampling, note)
        elif metric == "KID":
            figure = compute.kid_figure(sets, protocol, sampling, note)
        elif metric == "IS":
            figure = compute.inception_figure(sets, protocol, sampling, note)
        else:
            assert metric in PAIRED, metric
            values = compute.pair_scores(metric, sets, protocol)
            names = [sets.generated.names[i] for i in sets.pairs[0]]
            self._add_scores(metric, names, values, f"{note}, {protocol.kl_direction}")
            return
        self.figures[metric] = figure

    def _captioned(self, generated: Features, network: Network) -> CaptionedClips:
        captions = {i: self._caption(name) for i, name in enumerate(generated.names)}
        captions = {i: caption for i, caption in captions.items() if caption}
        return CaptionedClips(network.backbone, generated, captions)

    def _add_text(self, metric: str, clips: CaptionedClips, weights: str) -> None:
        """CLAP score and retrieval of clips by their captions. Raises InputError for few clips."""
        if len(clips) < (least := KINDS[metric].least):
            raise InputError(too_few(len(clips), least, "captioned clip"))
        if metric == "CLAP":
            self._add_scores(metric, clips.names, clips.scores(), weights)
            return
        note, values = f"{len(clips)} captions; {weights}", clips.retrieval(metric)
        self.figures[metric] = compute.mean_figure(metric, values, self.sampling, note)

    def _add_scores(self, metric: str, names: Sequence[str], values, note: str) -> None:
        """A mean over clips, and the score of each."""
        scores = np.full(len(self.generated.clips), np.nan)
        scores[[self.index[name] for name in names]] = values
        self.scores[metric] = scores
        self.figures[metric] = compute.mean_figure(
            metric, np.asarray(values, np.float64), self.sampling, note
        )

    def add_waveforms(self) -> None:
        """PSNR, SSIM and LSD of pairs of waveforms."""
        metrics = tuple(self.plan.present(*RECONSTRUCTION))
        if not metrics:
            return
        protocol, names, rows = self.plan.protocol, [], []
        rate = protocol.slot("classifier").sample_rate
        for name, mate in self.mates.items():
            clip = self.generated.clips[self.index[name]]
            try:
                waves = (
                    self.reference.read(mate, PAIR_LOADER, rate),
                    self.generated.read(clip, PAIR_LOADER, rate),
                )
            except Unreadable:
                continue
            names.append(name)
            rows.append(waveform_scores(*waves, rate, metrics, protocol))
        for metric in metrics:
            values = np.array([row[metric] for row in rows], np.float64)
            note = pair_note(metric, values, rate, protocol)
            unequal = np.flatnonzero(~np.isinf(values))
            self._add_scores(metric, [names[i] for i in unequal], values[unequal], note)

    def add_judges(self) -> None:
        """Scores by judges, each of which gives several metrics."""
        for judge in dict.fromkeys(
            self.plan.judges[m] for m in self.plan.present(*self.plan.judges)
        ):
            self.backbones[judge.name] = judge.sha256()
            scores = judge_clips(
                judge,
                self.generated,
                self.reference,
                self.mates,
                cache=self.cache,
                progress=self.progress,
            )
            for metric in self.plan.present(*judge.metrics):
                note = f"{judge.package} {judge.wheel.version}"
                self.scores[metric] = scores[metric].values
                self.figures[metric] = compute.judged_figure(
                    metric, scores[metric], self.sampling, note
                )

    def _labels(self, sets: Sets) -> dict[str, list[Sequence[str]]]:
        """Labels of the readable clips of both sets; a generated clip has those of its pair."""
        references = {clip.name: clip.labels for clip in self.reference.clips}
        return {
            "generated": [self._label(name) for name in sets.generated.names],
            "reference": [references[name] for name in sets.reference.names],
        }

    def _label(self, name: str) -> Sequence[str]:
        mate = self.mates.get(name)
        own = self.generated.clips[self.index[name]].labels
        return mate.labels if mate is not None and mate.labels else own

    def _caption(self, name: str) -> str:
        mate = self.mates.get(name)
        own = self.generated.clips[self.index[name]].caption
        return own or (mate.caption if mate is not None else "")

    def _texts(self) -> list[tuple[str, str]] | None:
        """(caption, transcript) of each generated clip, if a figure depends on them."""
        of_texts = {m for m, kind in KINDS.items() if kind.captions or kind.transcripts}
        if not any(f.value is not None for f in self.figures.values() if f.metric in of_texts):
            return None
        clips = [self.generated.clips[i] for i in self.generated.usable]
        mates = [self.mates.get(clip.name) for clip in clips]
        return [
            (self._caption(clip.name), clip.transcript or (mate.transcript if mate else ""))
            for clip, mate in zip(clips, mates)
        ]

    def result(self, generation: dict | None) -> EvalResult:
        """All figures in the order of tables, absent ones with the reason."""
        self._add_silence()
        figures = [
            self.figures.get(m) or Figure(m, None, note=self.plan.absent.get(m, ""))
            for m in self.plan.selection.keys
        ]
        protocol = self.plan.protocol
        settings = evaluation_settings(
            self.generated, self.reference, self._texts(), generation, self.sampling.seed
        )
        return EvalResult(
            generated=self.generated.name,
            reference=self.reference.name,
            protocol=protocol,
            hash=protocol_hash(protocol, self.backbones, settings),
            backbones=dict(sorted(self.backbones.items())),
            figures=[self._with_silence(figure) for figure in figures],
            per_class=self._classes(),
            problems={name: clips.problems.as_dict() for name, clips in self._sets().items()},
            warnings=self._warnings(),
            clips=self._clips(),
            ladders=self.ladders,
            generation=without_clips(generation),
            settings=settings,
            versions={
                "audioldm2_jax": __version__,
                "jax": jax.__version__,
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "python": platform.python_version(),
            },
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            device=jax.devices()[0].device_kind,
        )

    def _add_silence(self) -> None:
        """The share of silent clips: no other figure tells it."""
        count, silent = len(self.generated.usable), len(self.generated.silent)
        if next(self.plan.present("silent_share"), None):
            self.figures["silent_share"] = Figure("silent_share", silent / count, n=count)

    def _with_silence(self, figure: Figure) -> Figure:
        """The figure, with a note where silent clips count in it."""
        silent = len(self.generated.silent)
        if not silent or figure.value is None:
            return figure
        note = f"{silent} of {len(self.generated.usable)} clips silent; {figure.note}"
        return dataclasses.replace(figure, note=note.rstrip("; "))

    def _warnings(self) -> list[str]:
        """A line for all that a reader must know before a figure is quoted."""
        return [*self.generated.warnings(), *self.reference.warnings(), *self.pairs.lines]

    def _sets(self) -> dict[str, ClipSet]:
        return {"generated": self.generated, "reference": self.reference}

    def _clips(self) -> list[dict]:
        """What the result says of each generated clip."""
        silent = set(self.generated.silent.tolist())
        return [self._clip(i, i in silent) for i in self.generated.usable]

    def _clip(self, i: int, silent: bool) -> dict:
        clip = self.generated.clips[i]
        mate = self.mates.get(clip.name)
        scores = {m: float(v[i]) for m, v in self.scores.items() if np.isfinite(v[i])}
        return {
            "name": clip.name,
            "reference": mate.name if mate is not None else "",
            "caption": self._caption(clip.name),
            "labels": list(self._label(clip.name)),
            "silent": silent,
            **scores,
        }

    def _classes(self) -> dict[str, list[Figure]]:
        """Means and distances of each label, for sets with at least two labels."""
        clips = self.generated.clips
        labels = [self._label(clip.name) for clip in clips]
        if len({name for names in labels for name in names}) < 2:
            return {}
        classes = compute.class_figures(labels, self.scores, self.sampling)
        for figures in self.class_distances.values():
            for name, figure in figures.items():
                classes.setdefault(name, []).append(figure)
        return {name: figures for name, figures in sorted(classes.items()) if figures}


def usable(clips: ClipSet) -> list[Clip]:
    """The clips of an inspected set that can be used. Raises InputError if there are none."""
    good = [clips.clips[i] for i in clips.usable]
    if not good:
        raise InputError(f"{clips.name}: no clip can be used ({'; '.join(clips.problems.lines())})")
    return good


def _inspect(clips: ClipSet, progress: bool) -> None:
    """Decodes all clips once, so that all problems are known before any other work."""
    counter = Counter(f"checking {clips.name}", len(clips), visible=progress)
    clips.inspect_all(counter.add)
