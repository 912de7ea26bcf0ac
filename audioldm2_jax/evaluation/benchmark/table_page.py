"""A table's results as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from audioldm2_jax.errors import printable
from audioldm2_jax.evaluation.benchmark.plan_text import (
    cell,
    describe_clips,
    describe_corpus,
)
from audioldm2_jax.evaluation.benchmark.table_results import RowResult, TableResult
from audioldm2_jax.evaluation.benchmark.table_text import interval_of, ours
from audioldm2_jax.evaluation.report import plots
from audioldm2_jax.evaluation.report.style import STYLE
from audioldm2_jax.evaluation.report.tables import better
from audioldm2_jax.evaluation.results import METRICS
from audioldm2_jax.evaluation.tables import LISTENERS, Corrupted, Training

_STYLE = """
.published { color: var(--soft); } pre { overflow-x: auto; background: var(--rule);
  padding: .5rem .8rem; }
"""


def page(result: TableResult) -> str:
    """The page: the table, curves over steps or shares, what is missing, how rows are made."""
    table = result.table
    protocol = f"protocol {result.settings['protocol']}"
    facts = (table.source, protocol, result.date, result.device)
    sections = [
        f'<header><h1>{_safe(table.title)}</h1><p class="facts">'
        f"{' &middot; '.join(_safe(fact) for fact in facts if fact)}</p></header>",
        _warning(result),
        _section("Figures", _figures(result), *(f"<p>{_safe(n)}</p>" for n in table.notes)),
        _curves(result),
        _missing(result.rows),
        _section("Rows", _rows(result.rows)),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_safe(table.title)}</title>\n<style>{STYLE}{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _safe(value) -> str:
    return escape(printable(str(value)))


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{_safe(title)}</h2>\n{''.join(parts)}\n</section>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of cells that are escaped already; the first cell of a row names it."""
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in rest)}</tr>\n'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table><caption>{_safe(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _warning(result: TableResult) -> str:
    if not result.differences:
        return ""
    items = "".join(f"<li>{_safe(line)}</li>" for line in result.differences)
    return (
        '<div class="warning" role="alert"><h2>Not comparable with the published figures</h2>'
        f"<p>They differ in:</p><ul>{items}</ul></div>"
    )


def _figures(result: TableResult) -> str:
    header = ["row"]
    for column in result.table.columns:
        name = METRICS[column][0] if column in METRICS else LISTENERS[column]
        end = f", {end} is better" if (end := better(column)) else ""
        header += [f'<abbr title="{_safe(name + end)}">{_safe(column)}</abbr>', "published"]
    rows = []
    for row in result.rows:
        line = [f'{_safe(row.row.system)}<br><span class="note">{_safe(row.row.name)}</span>']
        for column in result.table.columns:
            own = _safe(ours(row, column))
            if column in METRICS and (interval := interval_of(row.summary(column))):
                own += f'<br><span class="note">{_safe(interval)}</span>'
            published = _safe(cell(row.row.figure(column)) or "-")
            line += [f"<b>{own}</b>", f'<span class="published">{published}</span>']
        rows.append([*line, _safe(row.state)])
    return _table([*header, "state"], rows, "Ours, with 95 % intervals, beside the published")


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
                parts.append(f"<figure>{svg}<figcaption>{_safe(title)}</figcaption></figure>")
    return _section("Curves", '<div class="plots">', *parts, "</div>") if parts else ""


def _points(row: RowResult, metric: str) -> list[tuple[float, float]]:
    """(step or share, value) of a row's points that have the metric."""
    figures = [(point.at, point.figures[metric].value) for point in row.points]
    return [(at, value) for at, value in figures if at is not None and value is not None]


def _missing(rows: Sequence[RowResult]) -> str:
    parts = []
    for row in rows:
        items = [
            f"<li>{_safe(need.what)}: {_safe(need.how)}"
            + (f"<pre>{_safe(need.command)}</pre>" if need.command else "")
            + "</li>"
            for need in row.needs
        ]
        items += [f"<li>{_safe(line)}</li>" for line in row.lines]
        if items:
            parts.append(
                f"<h3>{_safe(row.row.name)}: {_safe(row.state)}</h3><ul>{''.join(items)}</ul>"
            )
    return _section("What is missing, and what to know", *parts) if parts else ""


def _rows(rows: Sequence[RowResult]) -> str:
    lines = [
        (
            _safe(row.row.name),
            _safe(describe_clips(row.row.clips)),
            _safe(describe_corpus(row.row.corpus)),
            _safe(row.row.note),
            ", ".join(
                f"<code>{_safe(h)}</code>" for h in dict.fromkeys(p.hash for p in row.points)
            ),
        )
        for row in rows
    ]
    header = ("row", "clips", "corpus", "note", "hashes of protocol and settings")
    return _table(header, lines, "How each row is made")
