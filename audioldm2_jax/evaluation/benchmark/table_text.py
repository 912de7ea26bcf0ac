"""A table's results as text for a terminal, Markdown and CSV: ours beside the published figures."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator

from audioldm2_jax.errors import printable
from audioldm2_jax.evaluation.benchmark.plan_text import cell
from audioldm2_jax.evaluation.benchmark.table_results import RowResult, Summary, TableResult
from audioldm2_jax.evaluation.report.tables import aligned, csv_cell, number
from audioldm2_jax.evaluation.results import METRICS
from audioldm2_jax.evaluation.tables import LISTENERS, Training

CSV_HEADER = (
    "table",
    "row",
    "system",
    "corpus",
    "state",
    "metric",
    "at",
    "ours",
    "low",
    "high",
    "n",
    "published",
    "published_spread",
    "published_text",
    "protocol",
    "hash",
    "note",
)


def ours(result: RowResult, metric: str) -> str:
    """Our figure in a table: a number, the best and last of a run, or the ends of a corruption."""
    if metric in LISTENERS:
        return "-"
    summary = result.summary(metric)
    if summary.figure is None:
        return "-"
    first = number(summary.figure.value)
    if summary.last is None:
        return first
    last = number(summary.last.value)
    if isinstance(result.row.clips, Training):
        return f"{first} @{summary.at:g}, last {last}"
    change = f", {summary.direction}" if summary.direction else ""
    return f"{first} to {last}{change}"


def interval_of(summary: Summary) -> str:
    """The interval of our figure, of both figures where there are two; "" without one."""
    figures = [f for f in (summary.figure, summary.last) if f and None not in (f.low, f.high)]
    return "; ".join(f"{number(f.low)} .. {number(f.high)}" for f in figures)


def header(result: TableResult) -> list[str]:
    """Row, then each metric, ours and published."""
    names = ["row"]
    for column in result.table.columns:
        names += [column, "published"]
    return [*names, "state"]


def cells(result: TableResult) -> Iterator[list[str]]:
    """A line of cells for each row."""
    for row in result.rows:
        line = [row.row.name]
        for column in result.table.columns:
            line += [ours(row, column), cell(row.row.figure(column)) or "-"]
        yield [*line, row.state]


def table_text(result: TableResult) -> str:
    """What the command prints: the table, then for each row what is missing and what to know."""
    table = result.table
    lines = [
        f"{table.name}: {table.title}",
        f"published: {table.source}",
        f"ours: protocol {result.settings['protocol']}, on {result.device}",
        "",
        *aligned([header(result), *cells(result)]),
    ]
    for row in result.rows:
        lines += _remarks(row)
    lines += [""] * bool(table.notes) + [f"note: {text}" for text in table.notes]
    if result.differences:
        lines += ["", "Ours are not comparable with the published figures, for they differ in:"]
        lines += [line for text in result.differences for line in _wrapped(text)]
    return "\n".join(printable(line) for line in lines)


def _remarks(result: RowResult) -> list[str]:
    """What a row lacks, how to get it, and what to know of its figures."""
    if not (result.needs or result.lines):
        return []
    lines = ["", f"{result.row.name} ({result.state}): {result.row.system}"]
    for need in result.needs:
        lines += _wrapped(f"missing: {need.what}: {need.how}")
        lines += [f"    {need.command}"] if need.command else []
    for text in result.lines:
        lines += _wrapped(text)
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, 98, initial_indent="  ", subsequent_indent="    ", break_long_words=False
    )


def table_markdown(result: TableResult) -> str:
    """The table for a document."""
    table, names = result.table, header(result)
    rows = [names, ["---"] * len(names), *cells(result)]
    lines = [f"# {table.title}", "", f"Published: {table.source}.", ""]
    protocol = result.settings["protocol"]
    lines += [f"Ours: protocol `{protocol}`, {result.date}, on {result.device}.", ""]
    lines += ["| " + " | ".join(_escaped(text) for text in row) + " |" for row in rows]
    remarks = [line for row in result.rows for line in _remark_items(row)]
    lines += ["", *remarks] if remarks else []
    lines += ["", *(f"- {_escaped(text)}" for text in table.notes)] if table.notes else []
    if result.differences:
        lines += ["", "Ours are not comparable with the published figures, for they differ in:", ""]
        lines += [f"- {_escaped(text)}" for text in result.differences]
    return "\n".join(lines) + "\n"


def _remark_items(result: RowResult) -> Iterator[str]:
    name = result.row.name
    for need in result.needs:
        command = f": `{need.command}`" if need.command else ""
        yield f"- `{name}` lacks {_escaped(need.what)} ({_escaped(need.how)}){command}"
    for text in result.lines:
        yield f"- `{name}`: {_escaped(text)}"


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("\n", " ")


def table_csv(result: TableResult) -> str:
    """One line for each row, point and metric; rows without points have their published figures."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row in result.rows:
        for line in _csv_lines(result, row):
            writer.writerow([csv_cell(value) for value in line])
    return file.getvalue()


def _csv_lines(result: TableResult, row: RowResult):
    start = (result.table.name, row.row.name, row.row.system, row.row.corpus.name, row.state)
    for metric in result.table.columns:
        known = row.row.figure(metric)
        published = (known.value, known.spread, known.text) if known else (None, None, "")
        points = row.points if metric in METRICS else []
        for point in points:
            f = point.figures[metric]
            figure = (point.at, f.value, f.low, f.high, f.n)
            end = (result.settings["protocol"], point.hash, f.note)
            yield (*start, metric, *figure, *published, *end)
        if not points:
            blank = (None, None, None, None, None)
            yield (
                *start,
                metric,
                *blank,
                *published,
                result.settings["protocol"],
                "",
                row.row.note,
            )
