"""A table's results as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence

from audioldm2_jax.evaluation.benchmark.plan_text import (
    cell,
    describe_clips,
    describe_corpus,
)
from audioldm2_jax.evaluation.benchmark.table_results import RowResult, TableResult
from audioldm2_jax.evaluation.benchmark.table_text import interval_of, ours
from audioldm2_jax.evaluation.report import markup, plots
from audioldm2_jax.evaluation.report.markup import safe
from audioldm2_jax.evaluation.report.tables import better
from audioldm2_jax.evaluation.results import METRICS
from audioldm2_jax.evaluation.tables import LISTENERS, Corrupted, Training

_STYLE = """
.published { color: var(--soft); } pre { overflow-x: auto; background: var(--rule);
  padding: .5rem .8rem; }
"""
_APART = "Not comparable with the published figures"


def page(result: TableResult) -> str:
    """The page: the table, curves over steps or shares, what is missing, how rows are made."""
    table = result.table
    protocol = f"protocol {result.settings['protocol']}"
    facts = (table.source, protocol, result.date, result.device)
    sections = [
        markup.header(table.title, [safe(fact) for fact in facts if fact]),
        markup.warning(_APART, result.differences, "They differ in:"),
        markup.section("Figures", _figures(result), *(f"<p>{safe(n)}</p>" for n in table.notes)),
        _curves(result),
        _missing(result.rows),
        markup.section("Rows", _rows(result.rows)),
    ]
    return markup.document(table.title, sections, _STYLE)


def _figures(result: TableResult) -> str:
    header = ["row"]
    for column in result.table.columns:
        name = METRICS[column][0] if column in METRICS else LISTENERS[column]
        end = f", {end} is better" if (end := better(column)) else ""
        header += [f'<abbr title="{safe(name + end)}">{safe(column)}</abbr>', "published"]
    rows = []
    for row in result.rows:
        line = [f'{safe(row.row.system)}<br><span class="note">{safe(row.row.name)}</span>']
        for column in result.table.columns:
            own = safe(ours(row, column))
            if column in METRICS and (interval := interval_of(row.summary(column))):
                own += f'<br><span class="note">{safe(interval)}</span>'
            published = safe(cell(row.row.figure(column)) or "-")
            line += [f"<b>{own}</b>", f'<span class="published">{published}</span>']
        rows.append([*line, safe(row.state)])
    return markup.table([*header, "state"], rows, "Ours, with 95 % intervals, beside the published")


def _curves(result: TableResult) -> str:
    """A plot for each metric, with a curve of each row that has several points."""
    parts = []
    for metric in result.table.metrics:
        for kind, x_name in ((Corrupted, "share of corrupted clips"), (Training, "training steps")):
            rows = {r.row.name: r for r in result.rows if isinstance(r.row.clips, kind)}
            series = {name: _points(row, metric) for name, row in rows.items()}
            series = {name: points for name, points in series.items() if len(points) > 1}
            if series:
                title = f"{metric} over {x_name}"
                svg = plots.curves(series, title=title, x_name=x_name, y_name=metric)
                parts.append(f"<figure>{svg}<figcaption>{safe(title)}</figcaption></figure>")
    return markup.section("Curves", '<div class="plots">', *parts, "</div>") if parts else ""


def _points(row: RowResult, metric: str) -> list[tuple[float, float]]:
    """(step or share, value) of a row's points that have the metric."""
    figures = [(point.at, point.figures[metric].value) for point in row.points]
    return [(at, value) for at, value in figures if at is not None and value is not None]


def _missing(rows: Sequence[RowResult]) -> str:
    parts = []
    for row in rows:
        items = [
            f"<li>{safe(need.what)}: {safe(need.how)}"
            + (f"<pre>{safe(need.command)}</pre>" if need.command else "")
            + "</li>"
            for need in row.needs
        ]
        items += [f"<li>{safe(line)}</li>" for line in row.lines]
        if items:
            parts.append(
                f"<h3>{safe(row.row.name)}: {safe(row.state)}</h3><ul>{''.join(items)}</ul>"
            )
    return markup.section("What is missing, and what to know", *parts) if parts else ""


def _rows(rows: Sequence[RowResult]) -> str:
    lines = [
        (
            safe(row.row.name),
            safe(describe_clips(row.row.clips)),
            safe(describe_corpus(row.row.corpus)),
            safe(row.row.note),
            ", ".join(f"<code>{safe(h)}</code>" for h in dict.fromkeys(p.hash for p in row.points)),
        )
        for row in rows
    ]
    header = ("row", "clips", "corpus", "note", "hashes of protocol and settings")
    return markup.table(header, lines, "How each row is made")
