"""The report of an evaluation: one HTML page that needs no other file and no network.

Names of clips, labels and captions come from outside and are escaped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audioldm2_jax.evaluation.report import markup, plots
from audioldm2_jax.evaluation.report.markup import safe
from audioldm2_jax.evaluation.report.tables import better, interval, number
from audioldm2_jax.evaluation.results import METRICS, EvalResult, Figure

# Scores of single clips that rank them, the first one that a result has.
RANKED_BY = ("KL", "CLAP", "DNSMOS_OVRL", "speaker_similarity", "WER", "note_F1", "pitch_accuracy")
_MOST_BARS = 60
_AXES = {"FD": "FD", "FAD": "FAD", "KAD": "KAD"}


@dataclass(frozen=True)
class Player:
    """Sources of a pair's sounds: `data:` URLs; "" where there is none."""

    generated: str
    reference: str = ""


def best_and_worst(result: EvalResult, count: int) -> tuple[str, list[dict], list[dict]]:
    """(metric, best clips, worst clips) by the first metric of RANKED_BY that the clips have.

    No clip is in both lists. ("", [], []) for results without scores of clips.
    """
    for metric in RANKED_BY:
        scored = [clip for clip in result.clips if isinstance(clip.get(metric), int | float)]
        if scored:
            larger = bool(METRICS[metric][1])
            scored.sort(key=lambda clip: (clip[metric] * (-1 if larger else 1), clip["name"]))
            half = min(count, (len(scored) + 1) // 2)
            return metric, scored[:half], scored[::-1][: min(half, len(scored) - half)]
    return "", [], []


def page(result: EvalResult, players: Mapping[str, Player], *, count: int = 5) -> str:
    """The page. players: sounds of clips by name; count: best and worst clips to show."""
    title = f"{result.generated} against {result.reference}"
    sections = [
        _head(result, title),
        markup.warning("Warnings", result.warnings),
        _figures(result.figures),
        _curves(result),
        _ranked(result, players, count),
        _classes(result.per_class),
        _problems(result.problems),
        _protocol(result),
    ]
    return markup.document(title, sections)


def _head(result: EvalResult, title: str) -> str:
    facts = [
        f"protocol <code>{safe(result.protocol.name)}</code>",
        f"hash <code>{safe(result.hash)}</code>",
        *(safe(text) for text in (result.date, result.device) if text),
    ]
    return markup.header(title, facts)


def _figures(figures: Sequence[Figure]) -> str:
    """A table of the figures; absent ones with their reasons below it."""
    present = [f for f in figures if f.value is not None]
    absent = [f for f in figures if f.value is None]
    header = ("metric", "value", "95 % interval", "better", "clips", "note")
    rows = [
        (
            _metric(f.metric),
            f"<b>{number(f.value)}</b>",
            interval(f),
            better(f.metric),
            str(f.n or "-"),
            f'<span class="note">{safe(f.note)}</span>',
        )
        for f in present
    ]
    parts = [markup.table(header, rows, "Intervals by bootstrap over clips")] if rows else []
    if absent:
        reasons = [(_metric(f.metric), safe(f.note)) for f in absent]
        table = markup.table(("metric", "reason"), reasons, "Metrics that are not computed")
        summary = f"{len(absent)} metrics are not computed: the reasons"
        parts.append(f"<details><summary>{summary}</summary>{table}</details>")
    return markup.section("Figures", *parts)


def _metric(key: str) -> str:
    """A metric's key, and what it is as its title."""
    name = METRICS.get(key, (key, None))[0]
    return f'<abbr title="{safe(name)}">{safe(key)}</abbr>'


def _curves(result: EvalResult) -> str:
    """Bias at small N, the extrapolation, and how per-clip scores are spread."""
    parts = []
    for metric, points in result.ladders.items():
        value = result.figure(metric).value
        if metric == "FAD_inf" and value is not None and len(points) > 1:
            title = "FAD over 1/N, extrapolated to infinitely many clips"
            parts.append(_plot(plots.extrapolation(points, value, title=title, y_name="FAD")))
        elif metric in _AXES and len(points) > 1:
            title = f"{metric} of parts of N clips: its bias at small N"
            parts.append(
                _plot(plots.curve(points, title=title, x_name="clips N", y_name=_AXES[metric]))
            )
    for metric in RANKED_BY:
        values = [c[metric] for c in result.clips if isinstance(c.get(metric), int | float)]
        if len(values) > 1:
            title = f"{metric} of single clips"
            parts.append(_plot(plots.histogram(values, title=title, x_name=metric)))
    return markup.section("Plots", '<div class="plots">', *parts, "</div>") if parts else ""


def _plot(svg: str) -> str:
    title = svg.partition("<title>")[2].partition("</title>")[0]
    return f"<figure>{svg}<figcaption>{title}</figcaption></figure>"


def _ranked(result: EvalResult, players: Mapping[str, Player], count: int) -> str:
    metric, best, worst = best_and_worst(result, count)
    parts = []
    for title, clips in (("Best", best), ("Worst", worst)):
        if clips:
            rows = [_clip_row(clip, metric, players.get(clip["name"])) for clip in clips]
            header = ("clip", safe(metric), "generated", "reference")
            parts.append(markup.table(header, rows, f"{title} clips by {metric}"))
    return markup.section("Best and worst clips", *parts) if parts else ""


def _clip_row(clip: dict, metric: str, player: Player | None) -> tuple[str, ...]:
    name = f'<span class="name">{safe(clip["name"])}</span>'
    if caption := clip.get("caption"):
        name += f'<br><span class="note">{safe(caption)}</span>'
    if clip.get("silent"):
        name += '<br><strong class="silent">silent</strong>'
    sounds = ("", "") if player is None else (player.generated, player.reference)
    kinds = ("generated", "reference")
    cells = [_audio(source, f"{kind}: {clip['name']}") for source, kind in zip(sounds, kinds)]
    return (name, number(clip[metric]), *cells)


def _audio(source: str, name: str) -> str:
    if not source:
        return '<span class="no">-</span>'
    return f'<audio controls preload="none" src="{safe(source)}" aria-label="{safe(name)}"></audio>'


def _classes(per_class: Mapping[str, Sequence[Figure]]) -> str:
    if not per_class:
        return ""
    metrics = list(dict.fromkeys(f.metric for figures in per_class.values() for f in figures))
    by_class = {label: {f.metric: f for f in figures} for label, figures in per_class.items()}
    parts = []
    for metric in metrics:
        rows = [
            (label, f.value, f.low, f.high)
            for label, figures in by_class.items()
            if (f := figures.get(metric)) and f.value is not None
        ]
        rows.sort(key=lambda row: row[1], reverse=bool(METRICS[metric][1]))
        if rows:
            first = f", the first {_MOST_BARS} of {len(rows)}" if len(rows) > _MOST_BARS else ""
            title = f"{metric} of each class, best first{first}"
            parts.append(_plot(plots.bars(rows[:_MOST_BARS], title=title)))
    rows = [
        (
            f'<span class="name">{safe(label)}</span>',
            str(max((f.n for f in figures.values()), default=0)),
            *(number(figures[m].value) if m in figures else "-" for m in metrics),
        )
        for label, figures in by_class.items()
    ]
    table = markup.table(("class", "clips", *map(safe, metrics)), rows, "Figures of each class")
    note = "<p>Distances of few clips are biased upwards: compare classes of equal size only.</p>"
    return markup.section("Classes", '<div class="plots">', *parts, "</div>", table, note)


def _problems(problems: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Counts of bad clips in both sets, with the rule and names of examples."""
    rows = []
    for which, kinds in problems.items():
        for kind, entry in kinds.items():
            names = ", ".join(safe(name) for name in entry["names"])
            more = entry["count"] - len(entry["names"])
            names += f" and {more} more" if more > 0 else ""
            verdict = f"{'left out' if entry['left_out'] else 'kept'}; {entry['rule']}"
            rows.append(
                (
                    safe(which),
                    safe(kind),
                    str(entry["count"]),
                    *(f'<span class="name">{text}</span>' for text in (safe(verdict), names)),
                )
            )
    if not rows:
        return ""
    header = ("set", "problem", "clips", "rule", "names")
    return markup.section("Problems", markup.table(header, rows, "Clips with problems"))


def _protocol(result: EvalResult) -> str:
    """All that it takes to compute the figures again."""
    entries = dataclasses.asdict(result.protocol)
    slots = entries.pop("slots")
    rows = [(safe(key), safe(value)) for key, value in entries.items()]
    for slot, spec in slots:
        text = ", ".join(f"{key} {value}" for key, value in spec.items() if key != "loader")
        rows.append((safe(f"slot {slot}"), safe(text)))
        loader = ", ".join(f"{key} {value}" for key, value in spec["loader"].items())
        rows.append((safe(f"loader of {slot}"), safe(loader)))
    rows += [
        (safe(f"weights of {name}"), f"sha256 <code>{safe(sha)}</code>")
        for name, sha in result.backbones.items()
    ]
    rows += [(safe(name), safe(version)) for name, version in result.versions.items()]
    parts = [markup.table(("entry", "value"), rows, "Protocol, weights and versions")]
    if result.generation:
        settings = [(safe(k), safe(v)) for k, v in result.generation.items()]
        parts.append(markup.table(("entry", "value"), settings, "How the clips were generated"))
    summary = "<summary>All that it takes to compute these figures again</summary>"
    return markup.section("Protocol", f"<details>{summary}", *parts, "</details>")
