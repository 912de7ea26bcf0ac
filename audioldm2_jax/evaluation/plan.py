"""What an evaluation will compute, checked before any work: metrics, networks, judges, data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints import single
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.base import Backbone
from audioldm2_jax.evaluation.backbones.registry import open_backbone
from audioldm2_jax.evaluation.clips import Clip, ClipSet, Pairs
from audioldm2_jax.evaluation.generated import ClipPrompt
from audioldm2_jax.evaluation.judges import JUDGES, Judge
from audioldm2_jax.evaluation.kinds import KINDS, MetricSelection, select_metrics, too_few
from audioldm2_jax.evaluation.pairing import pair_names
from audioldm2_jax.evaluation.protocol import METRIC_SLOTS, BackboneSpec, EvalProtocol

EXPORTED = "exported classifier"  # what a protocol calls weights of our own


@dataclass(frozen=True)
class Network:
    """An open network of a protocol's slot."""

    spec: BackboneSpec
    backbone: Backbone


@dataclass
class Plan:
    """Checked metrics. protocol: with the networks that are used. networks, judges: by metric.

    absent: {metric: why it cannot be computed}.
    """

    selection: MetricSelection
    protocol: EvalProtocol
    networks: dict[str, Network] = field(default_factory=dict)
    judges: dict[str, Judge] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def present(self, *metrics: str) -> Iterator[str]:
        """Those of `metrics` that are asked for and can be computed."""
        return (m for m in metrics if m in self.selection.keys and m not in self.absent)

    def readers(self) -> list[list[Network]]:
        """The networks that are used, in lists of those that read the same samples."""
        readers: dict[tuple, list[Network]] = {}
        for network in dict.fromkeys(self.networks[m] for m in self.present(*self.networks)):
            reader = network.spec.loader, network.backbone.sample_rate
            readers.setdefault(reader, []).append(network)
        return list(readers.values())

    def leave_out(self, metric: str, reason: str) -> None:
        """Notes why a metric is absent. Raises InputError if it was asked for by its own name."""
        if metric in self.selection.by_name:
            raise InputError(f"{metric}: {reason}")
        self.absent.setdefault(metric, reason)


def plan_evaluation(
    protocol: EvalProtocol,
    metrics: str | Sequence[str] | MetricSelection = "all",
    weights: Mapping[str, str | Path] | None = None,
) -> Plan:
    """Opens the networks and judges of all metrics that the weights allow.

    metrics: keys and groups, or `kinds.select_metrics` of them. weights: {slot, network or
    published file: path}. Raises InputError for another name, for weights that cannot be used, and
    for a metric that is asked for by its own name and lacks its network.
    """
    asked = metrics if isinstance(metrics, MetricSelection) else select_metrics(metrics)
    protocol, paths = _with_weights(protocol, weights or {})
    plan = Plan(asked, protocol)
    opened: dict[BackboneSpec, Network | str] = {}
    for metric in asked.keys:
        kind = KINDS[metric]
        if kind.judge:
            judge = JUDGES[kind.judge]
            if line := judge.missing():
                plan.leave_out(metric, line)
            else:
                plan.judges[metric] = judge
        elif kind.backbone:
            if reason := protocol.absence(metric):
                plan.leave_out(metric, reason)
                continue
            slot = next(s for s in METRIC_SLOTS[metric] if protocol.slot(s))
            network = _opened(opened, protocol.slot(slot), paths.get(slot))
            if isinstance(network, str):
                plan.leave_out(metric, network)
            elif kind.logits and not network.backbone.labels:
                plan.leave_out(metric, f"{network.spec.name} has no class probabilities")
            elif kind.captions and (reason := _no_texts(network.backbone)):
                plan.leave_out(metric, reason)
            else:
                plan.networks[metric] = network
    return plan


def _with_weights(
    protocol: EvalProtocol, weights: Mapping[str, str | Path]
) -> tuple[EvalProtocol, dict[str, Path]]:
    """The protocol, with classifiers of our own in their slots, and the path of each slot."""
    paths: dict[str, Path] = {}
    used = set()
    for slot, spec in protocol.slots:
        name = next((n for n in (slot, spec.weights, spec.name) if n in weights), None)
        if name is None:
            continue
        used.add(name)
        paths[slot] = path = files.user_path(weights[name])
        if not path.exists():
            raise InputError(f"--weights {name}={path}: no such file or folder")
        protocol = protocol.with_slot(slot, _own_spec(spec, path))
    if unknown := [name for name in weights if name not in used]:
        names = ", ".join(n for slot, spec in protocol.slots for n in (slot, spec.weights))
        raise InputError(
            f"--weights {unknown[0]}: not of protocol {protocol.name}, whose networks are {names}"
        )
    return protocol, paths


def _own_spec(spec: BackboneSpec, path: Path) -> BackboneSpec:
    """The slot's network with the weights of a path, under their own name.

    A classifier that `audioldm2-jax export` wrote takes the slot, with its own sample rate.
    """
    if path.is_dir() and single.kind_of(path) == "panns":
        rate = single.read_config(path)[1].sample_rate
        return replace(spec, name="panns", sample_rate=rate, weights=EXPORTED, hop_seconds=0.0)
    # MusicNN's wheel holds several weights: their name chooses.
    return spec if spec.name == "musicnn" else replace(spec, weights=path.name)


def _opened(opened: dict, spec: BackboneSpec, path: Path | None) -> Network | str:
    """The network, opened once, or why it is absent. Raises InputError for broken weights."""
    key = (spec, path)
    if key not in opened:
        try:
            opened[key] = Network(spec, open_backbone(spec, path))
        except InputError as error:
            if path is not None:
                raise
            opened[key] = str(error)
    return opened[key]


def _no_texts(backbone: Backbone) -> str:
    """Why a network does not read texts, such as for lack of a tokenizer; "" if it does."""
    if not hasattr(backbone, "text_features"):
        return f"{backbone.name} reads no texts"
    try:
        backbone.text_features([])
    except InputError as error:
        return str(error)
    return ""


def check_data(
    plan: Plan, generated: Sequence[Clip], reference: Sequence[Clip], pairs: Pairs
) -> None:
    """Leaves out the metrics that the clips of both sets do not allow.

    Raises InputError for one that was asked for by its own name.
    """
    count = min(len(generated), len(reference))
    spoken = any(clip.transcript for clip in (*generated, *reference))
    described = any(clip.caption for clip in (*generated, *reference))
    for metric in plan.selection.keys:
        kind = KINDS[metric]
        least = max(kind.least, plan.protocol.is_splits) if metric == "IS" else kind.least
        if reason := plan.selection.unfit(metric, speech=spoken):
            plan.absent[metric] = reason  # rather than which package it lacks
        elif kind.paired and not pairs.is_paired:
            plan.leave_out(metric, "; ".join(["unpaired", *pairs.lines]))
        elif kind.captions and not described:
            plan.leave_out(metric, "the clips have no captions; name a table with --captions")
        elif kind.transcripts and not spoken:
            plan.leave_out(metric, "the clips have no transcripts; name a table with --captions")
        elif count < least:
            plan.leave_out(metric, too_few(count, least))


def check_planned(plan: Plan, prompts: Sequence[ClipPrompt], reference: ClipSet) -> None:
    """`check_data` for clips that are still to be generated. Raises InputError as it does."""
    clips = [Clip(p.name, None, p.prompt, transcript=p.transcript) for p in prompts]
    clips.sort(key=lambda clip: clip.name)
    names = [[clip.name for clip in side] for side in (clips, reference.clips)]
    check_data(plan, clips, reference.clips, pair_names(*names, plan.protocol))
