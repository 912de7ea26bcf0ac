"""Runs a benchmark table: every row that can run, beside its published figures, resumable."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from audioldm2_jax import distributed, files
from audioldm2_jax.backend import enable_cache
from audioldm2_jax.errors import InputError, NumericalError, note
from audioldm2_jax.evaluation.benchmark import corrupted_rows, generated_rows, training_rows
from audioldm2_jax.evaluation.benchmark.run_settings import RunSettings
from audioldm2_jax.evaluation.benchmark.sources import Sources, check_sources, needs
from audioldm2_jax.evaluation.benchmark.table_page import page
from audioldm2_jax.evaluation.benchmark.table_results import Point, RowResult, TableResult
from audioldm2_jax.evaluation.benchmark.table_text import table_csv, table_markdown
from audioldm2_jax.evaluation.benchmark.work import Work
from audioldm2_jax.evaluation.kinds import MetricSelection
from audioldm2_jax.evaluation.plan import plan_evaluation
from audioldm2_jax.evaluation.protocol import differences, named_protocol
from audioldm2_jax.evaluation.results import METRICS
from audioldm2_jax.evaluation.tables import (
    Corrupted,
    Model,
    Outputs,
    Recordings,
    Row,
    Table,
    Training,
)
from audioldm2_jax.version import __version__

__all__ = ["RunSettings", "Sources", "reproduce", "write_table"]

RESULT, FIGURES, MARKDOWN, PAGE = FILES = (
    "result.json",
    "table.csv",
    "table.md",
    "table.html",
)
RUNNERS: dict[type, Callable[[Work, Row], list[Point]]] = {
    Model: generated_rows.model,
    Outputs: generated_rows.outputs,
    Recordings: generated_rows.recordings,
    Corrupted: corrupted_rows.corrupted,
    Training: training_rows.training,
}


def reproduce(
    table: Table,
    rows: Sequence[Row],
    sources: Sources,
    settings: RunSettings,
    folder: Path,
) -> TableResult:
    """Runs rows of a table; a row that cannot run says what it lacks, the others go on.

    folder: of the results; an earlier run in it goes on, row by row and clip by clip, and the
    table's files are written after each row. Raises InputError for sources and weights that the
    table does not have, and where the folder cannot be written.
    """
    check_sources(table, sources)
    keys = tuple(metric for metric in METRICS if metric in table.metrics)
    selection = MetricSelection(keys, frozenset(), frozenset({"speech", "music"}))
    protocol = named_protocol(settings.protocol or table.protocol)
    plan = plan_evaluation(protocol, selection, settings.weights)
    enable_cache()
    work = Work(plan, table.metrics, sources, settings, folder)
    work.row_folder(None)
    result = TableResult(
        table,
        [],
        {
            "limit": settings.limit,
            "bootstrap": settings.bootstrap,
            "weights": {name: str(path) for name, path in settings.weights.items()},
            "absent": dict(plan.absent),
            "protocol": protocol.name,
            "differences": differences(plan.protocol, named_protocol(table.protocol)),
        },
        versions={
            "audioldm2_jax": __version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        device=jax.devices()[0].device_kind,
    )
    for row in rows:
        result.rows.append(run_row(work, row))
        write_table(result, folder)
    return result


def run_row(work: Work, row: Row) -> RowResult:
    """One row; what goes wrong in it is told in its lines, and is not raised."""
    lacking = needs(row, work.sources)
    if any(not need.fetched for need in lacking):
        return RowResult(row, "missing", needs=lacking)
    if work.settings.progress and distributed.is_main():
        note(f"{row.name}: {row.system}")
    try:
        with distributed.shared_errors():
            points = RUNNERS[type(row.clips)](work, row)
    except (InputError, NumericalError) as error:
        state = "missing" if lacking else "failed"
        return RowResult(row, state, needs=lacking, lines=[str(error)])
    lines = list(work.reference(row.corpus).notes)
    lines += dict.fromkeys(line for point in points for line in point.warnings)
    absent = {
        metric: figure.note
        for point in points
        for metric, figure in point.figures.items()
        if figure.value is None
    }
    lines += [f"{metric}: {reason}" for metric, reason in absent.items()]
    return RowResult(row, "part" if absent else "done", points, [], lines)


def write_table(result: TableResult, folder: Path) -> list[Path]:
    """Writes result.json, table.csv, table.md and table.html, by the first of several processes.

    Returns their paths. Raises InputError where they cannot be written.
    """
    if not distributed.is_main():
        return []
    contents = {
        FIGURES: table_csv(result),
        MARKDOWN: table_markdown(result),
        PAGE: page(result),
    }
    for name, text in contents.items():
        files.write_text(folder / name, text)
    result.save(folder / RESULT)
    return [folder / name for name in FILES]
