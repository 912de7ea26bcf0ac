"""Results as text for a terminal and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from audioldm2_jax.errors import printable
from audioldm2_jax.evaluation import protocol
from audioldm2_jax.evaluation.results import METRICS, EvalResult, Figure
from audioldm2_jax.evaluation.settings import differing_settings

# Metrics whose value, or whose spread, depends on the number of clips.
_OF_COUNT = ("FD", "FAD", "FAD_inf", "IS", "KID", "KAD", "R@1", "R@5", "R@10", "mAP@10")
_COLUMNS = ("metric", "value", "95 % interval", "n", "note")


def number(value: float | None) -> str:
    """Four significant digits, as tables print them; "-" for an absent value."""
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    if not -4 < exponent < 6:
        return f"{value:.3g}"
    return f"{value:.{max(0, 3 - exponent)}f}"


def interval(figure: Figure) -> str:
    """`low .. high`, or "-" without an interval."""
    if figure.low is None or figure.high is None:
        return "-"
    return f"{number(figure.low)} .. {number(figure.high)}"


def better(metric: str) -> str:
    """Which end of a metric is better: "lower", "higher" or nothing."""
    larger = METRICS.get(metric, ("", None))[1]
    return "" if larger is None else ("higher" if larger else "lower")


def figures_csv(result: EvalResult) -> str:
    """One row for each figure, those of classes below; every row names protocol and hash."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ("class", "metric", "value", "low", "high", "n", "note")
    writer.writerow((*header, "protocol", "hash", "generated", "reference"))
    groups = {"": result.figures} | result.per_class
    for label, figures in groups.items():
        for f in figures:
            row = (label, f.metric, f.value, f.low, f.high, f.n, f.note)
            names = (result.protocol.name, result.hash, result.generated, result.reference)
            writer.writerow([csv_cell(value) for value in (*row, *names)])
    return file.getvalue()


def csv_cell(value):
    """A text that no spreadsheet takes for a formula; numbers and absent values as they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def result_text(result: EvalResult) -> str:
    """What the command prints: figures, what they follow, what is absent and why, warnings."""
    rows = [
        (f.metric, number(f.value), interval(f), str(f.n or "-"), f.note)
        for f in result.figures
        if f.value is not None
    ]
    lines = [
        f"{result.generated} against {result.reference}",
        f"protocol {result.protocol.name}, hash {result.hash}",
        "",
        *aligned([_COLUMNS, *rows]),
    ]
    reasons: dict[str, list[str]] = {}
    for figure in result.figures:
        if figure.value is None:
            reasons.setdefault(figure.note, []).append(figure.metric)
    absent = [f"not computed: {', '.join(keys)}: {note}" for note, keys in reasons.items()]
    warnings = [f"warning: {line}" for line in result.warnings]
    for block in (absent, warnings):
        lines += ["", *block] if block else []
    return "\n".join(printable(line) for line in lines)


def comparison_text(results: Sequence[EvalResult]) -> str:
    """Results side by side, and a line for each way in which their protocols differ."""
    metrics = [m for m in METRICS if any(r.figure(m).value is not None for r in results)]
    header = ("metric", *(chr(ord("A") + i) for i in range(len(results))), "better")
    rows = [header]
    for metric in metrics:
        values = [_with_interval(result.figure(metric)) for result in results]
        rows.append((metric, *values, better(metric)))
    lines = [
        f"{chr(ord('A') + i)}: {r.generated} against {r.reference}, protocol {r.protocol.name}, "
        f"hash {r.hash}"
        for i, r in enumerate(results)
    ]
    lines += ["", *aligned(rows)]
    notes = [line for other in results[1:] for line in different(results[0], other)]
    if notes:
        lines += ["", "These figures are not comparable where they differ in:"]
        lines += [f"  {line}" for line in dict.fromkeys(notes)]
    for i, result in enumerate(results):
        lines += [f"warning: {chr(ord('A') + i)}: {line}" for line in result.warnings]
    return "\n".join(printable(line) for line in lines)


def different(a: EvalResult, b: EvalResult) -> list[str]:
    """What makes figures of two results not comparable, a line each; [] where nothing does."""
    lines = list(protocol.differences(a.protocol, b.protocol))
    for name in sorted({*a.backbones} & {*b.backbones}):
        if a.backbones[name] != b.backbones[name]:
            hashes = f"{a.backbones[name][:12]} and {b.backbones[name][:12]}"
            lines.append(f"weights of {name}: {hashes}")
    if a.reference != b.reference and not (a.settings and b.settings):  # of earlier versions
        lines.append(f"reference: {a.reference} and {b.reference}")
    lines += differing_settings(a.settings, b.settings)
    counts: dict[tuple[int, int], list[str]] = {}
    for metric in _OF_COUNT:
        ours, theirs = a.figure(metric), b.figure(metric)
        if ours.value is not None and theirs.value is not None and ours.n != theirs.n:
            counts.setdefault((ours.n, theirs.n), []).append(metric)
    lines += [f"clips of {', '.join(keys)}: {n} and {m}" for (n, m), keys in counts.items()]
    return lines


def _with_interval(figure: Figure) -> str:
    text = number(figure.value)
    return text if figure.low is None else f"{text} ({interval(figure)})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table: the first column to the left, numbers to the right, the last as it is."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1])]
        return "  ".join([*cells, row[-1]]).rstrip()

    return [line(row) for row in rows]
