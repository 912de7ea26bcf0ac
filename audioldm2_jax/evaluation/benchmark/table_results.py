"""What a table's rows gave: figures at their points, what is missing, and the best over steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.benchmark.sources import Need
from audioldm2_jax.evaluation.results import METRICS, EvalResult, Figure
from audioldm2_jax.evaluation.tables import Corrupted, Row, Table, Training

FORMAT = 1


@dataclass
class Point:
    """Figures of one set of clips. at: the training step or the share of corrupted clips, None for
    a row of one set. hash: of protocol, weights and settings. clips: in the generated set. key: of
    all that the point was computed from, by which a later run knows it.
    """

    at: float | None
    figures: dict[str, Figure]
    hash: str
    clips: int
    warnings: list[str] = field(default_factory=list)
    key: str = ""

    @classmethod
    def of(cls, result: EvalResult, metrics: tuple[str, ...], at: float | None) -> Point:
        """The figures of an evaluation that a table has columns for."""
        figures = {metric: result.figure(metric) for metric in metrics}
        return cls(at, figures, result.hash, len(result.clips), list(result.warnings))


@dataclass
class RowResult:
    """A row: what it gave, or why it gave nothing.

    state: "done"; "part": points or columns are missing; "missing": it could not run; "failed".
    needs: what it lacks. lines: what a reader should know.
    """

    row: Row
    state: str
    points: list[Point] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def summary(self, metric: str) -> Summary:
        """Our figure of a metric, as the table prints it."""
        points = [p for p in self.points if p.figures[metric].value is not None]
        if not points:
            note = self.points[-1].figures[metric].note if self.points else ""
            return Summary(None, note=note)
        last = points[-1]
        if isinstance(self.row.clips, Training):
            larger = METRICS[metric][1]
            best = (max if larger else min)(points, key=lambda p: p.figures[metric].value)
            return Summary(best.figures[metric], best.at, last.figures[metric], last.at)
        if isinstance(self.row.clips, Corrupted):
            first = points[0].figures[metric]
            return Summary(first, points[0].at, last.figures[metric], last.at)
        return Summary(last.figures[metric])


@dataclass(frozen=True)
class Summary:
    """Ours of a metric: of a training run the best and the last, of a corruption the first share
    and the last; else one figure, None where it is absent (`note` says why).
    """

    figure: Figure | None
    at: float | None = None
    last: Figure | None = None
    last_at: float | None = None
    note: str = ""

    @property
    def direction(self) -> str:
        """Where a metric goes: "rises" or "falls" where the intervals lie apart, else "no change".

        "" without two figures with intervals.
        """
        a, b = self.figure, self.last
        if a is None or b is None or None in (a.low, a.high, b.low, b.high):
            return ""
        if b.low > a.high:
            return "rises"
        return "falls" if b.high < a.low else "no change"


@dataclass
class TableResult:
    """All rows that were asked for. settings: what else decides the figures."""

    table: Table
    rows: list[RowResult]
    settings: dict
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    device: str = ""

    @property
    def differences(self) -> list[str]:
        """Why ours are not comparable with the published figures: rules of protocols that differ,
        networks of our own in place of published ones, few clips; [] where nothing is known.
        """
        lines = list(self.settings.get("differences", ()))
        if limit := self.settings.get("limit"):
            lines.append(f"only {limit} clips of each corpus, and distances fall with more clips")
        return lines

    def as_dict(self) -> dict:
        """What JSON can hold."""
        table = self.table
        return {
            "format": FORMAT,
            "table": table.name,
            "title": table.title,
            "source": table.source,
            "protocol": table.protocol,
            "columns": list(table.columns),
            "settings": self.settings,
            "versions": self.versions,
            "date": self.date,
            "device": self.device,
            "rows": [_row_dict(row) for row in self.rows],
        }

    def save(self, path) -> None:
        """Writes result.json. Raises InputError where it cannot be written."""
        files.write_json(path, self.as_dict())


def _row_dict(result: RowResult) -> dict:
    row = result.row
    return {
        "name": row.name,
        "system": row.system,
        "corpus": row.corpus.name,
        "note": row.note,
        "published": {p.metric: dataclasses.asdict(p) for p in row.published},
        "state": result.state,
        "points": [dataclasses.asdict(point) for point in result.points],
        "needs": [dataclasses.asdict(need) for need in result.needs],
        "lines": result.lines,
    }


def read_points(path) -> list[Point]:
    """The points of a row's finished work; [] where there is none. Raises InputError for damage."""
    if not path.is_file():
        return []
    try:
        return [
            Point(**p | {"figures": {m: Figure(**f) for m, f in p["figures"].items()}})
            for p in files.read_json(path)["points"]
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a row's points ({error}); delete it") from None
