"""Plots and tables of the study from what `audioldm2-jax reproduce` wrote; docs/study.md.

    python -m audioldm2_jax.recipes.study.figures

Reads $STUDY/{corruptions,conditions,runs}/result.json, of those that are there. Draws into
docs/study, writes benchmarks/results/study.json and prints Markdown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.configs.study.audioldm import FOLDER, STEPS
from audioldm2_jax.configs.study.common import METRICS
from audioldm2_jax.evaluation.results import METRICS as METRIC_NAMES
from audioldm2_jax.recipes.nano.build import ROOT

TARGET = ROOT / "docs" / "study"
RESULTS = ROOT / "benchmarks" / "results" / "study.json"
TABLES = ("corruptions", "conditions", "runs")
CORPORA = {"esc": "ESC-50's shape", "us8k": "UrbanSound8K's shape"}
CELLS = [(start, by) for start in ("pretrained", "scratch") for by in ("text", "audio")]


def compact(result: dict) -> dict:
    """{row: [{"at", metric: [value, low, high]}]} of a result.json, with what defends it."""
    rows = {}
    for row in result["rows"]:
        points = []
        for point in row["points"]:
            figures = {
                metric: [figure["value"], figure["low"], figure["high"]]
                for metric, figure in point["figures"].items()
                if figure["value"] is not None
            }
            points.append({"at": point["at"], "clips": point["clips"], "hash": point["hash"]})
            points[-1] |= figures
        if points:
            rows[row["name"]] = points
    return {"date": result["date"], "versions": result["versions"], "rows": rows}


def seeds_of(rows: dict, cell: str) -> list[list[dict]]:
    """The points of a cell's runs, a list for each seed that is finished."""
    return [points for name, points in rows.items() if name.rpartition("-")[0] == cell]


def best(points: list[dict], metric: str) -> dict:
    """The point of a run's best score over its steps, as the paper selects it."""
    return (max if METRIC_NAMES[metric][1] else min)(points, key=lambda point: point[metric][0])


def spread(values: list[float]) -> str:
    """Mean, and the range over seeds where there are several."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3g}"
    return f"{mean:.3g} ({min(values):.3g} to {max(values):.3g})"


def run_table(rows: dict) -> Iterator[str]:
    """A line for each cell: the best over steps, its step, and the last step, by each metric."""
    yield "| corpus | start | trained on | " + " | ".join(METRICS) + " | seeds |"
    yield "|" + " --- |" * (len(METRICS) + 4)
    for corpus in CORPORA:
        for start, condition in CELLS:
            runs = seeds_of(rows, f"{corpus}-{start}-{condition}")
            if not runs:
                continue
            cells = []
            for metric in METRICS:
                points = [best(points, metric) for points in runs]
                last = spread([points[-1][metric][0] for points in runs])
                steps = "/".join(str(point["at"]) for point in points)
                cells.append(f"{spread([p[metric][0] for p in points])} at {steps}; last {last}")
            yield f"| {corpus} | {start} | {condition} | {' | '.join(cells)} | {len(runs)} |"


def condition_table(rows: dict) -> Iterator[str]:
    """A line for each corpus and condition, with 95 % intervals over clips."""
    yield "| corpus | test condition | " + " | ".join(METRICS) + " |"
    yield "|" + " --- |" * (len(METRICS) + 2)
    for name, (point,) in rows.items():
        corpus, condition = name.split("-")
        cells = (f"{v:.3g} ({low:.3g} to {high:.3g})" for v, low, high in map(point.get, METRICS))
        yield f"| {corpus} | {condition} | {' | '.join(cells)} |"


def corruption_table(rows: dict) -> Iterator[str]:
    """A line for each corruption of all clips, with 95 % intervals; IS from none to all."""
    yield "| corruption of all clips | " + " | ".join(METRICS) + " |"
    yield "|" + " --- |" * (len(METRICS) + 1)
    for kind, (first, *_, last) in rows.items():
        cells = []
        for metric in METRICS:
            value, low, high = last[metric]
            start = f"{first[metric][0]:.3g} to " if metric == "IS" else ""
            cells.append(f"{start}{value:.3g} ({low:.3g} to {high:.3g})")
        yield f"| {kind} | {' | '.join(cells)} |"


def draw_corruptions(rows: dict, path: Path) -> None:
    """The paper's Figure 1: four metrics over the share of corrupted clips, with intervals."""
    drawing, axes = _axes(1, len(METRICS))
    for axis, metric in zip(axes[0], METRICS):
        for kind, points in rows.items():
            shares = [point["at"] for point in points]
            value, low, high = zip(*(point[metric] for point in points))
            (line,) = axis.plot(shares, value, "o-", label=kind)
            axis.fill_between(shares, low, high, color=line.get_color(), alpha=0.15)
        axis.set_title(metric)
        axis.set_xlabel("share of corrupted clips")
    axes[0][0].legend()
    drawing.savefig(path, dpi=70)


def draw_runs(rows: dict, path: Path) -> None:
    """The paper's Figure 2, of both corpora: scores over training steps.

    Lines are means over seeds; bands are the range of seeds, or a single seed's 95 % interval.
    """
    corpora = [corpus for corpus in CORPORA if any(name.startswith(f"{corpus}-") for name in rows)]
    drawing, axes = _axes(len(corpora), len(METRICS))
    for line_of_axes, corpus in zip(axes, corpora):
        for axis, metric in zip(line_of_axes, METRICS):
            for start, condition in CELLS:
                runs = seeds_of(rows, f"{corpus}-{start}-{condition}")
                if runs:
                    _curve(axis, runs, metric, f"{start}, {condition}")
            axis.set_title(f"{CORPORA[corpus]}: {metric}", size=10)
            _label_steps(axis, STEPS)
            if metric != "IS":
                axis.set_yscale("log")
    axes[0][0].legend()
    drawing.savefig(path, dpi=70)


def _label_steps(axis, steps: tuple[int, ...]) -> None:
    """The training steps as the axis's only marks; each doubles the one before."""
    axis.set_xlabel("step")
    axis.set_xscale("log")
    axis.set_xticks(steps, [str(step) for step in steps])
    axis.minorticks_off()


def _curve(axis, runs: list[list[dict]], metric: str, label: str) -> None:
    steps = [point["at"] for point in runs[0]]
    values = [[points[i][metric][0] for points in runs] for i in range(len(steps))]
    (line,) = axis.plot(steps, [statistics.fmean(v) for v in values], "o-", label=label)
    if len(runs) == 1:
        bands = [runs[0][i][metric][1:] for i in range(len(steps))]
    else:
        bands = [(min(v), max(v)) for v in values]
    axis.fill_between(steps, *zip(*bands), color=line.get_color(), alpha=0.15)


def _axes(rows: int, columns: int):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (4 * columns, 3.2 * rows)
    return plt.subplots(rows, columns, figsize=size, constrained_layout=True, squeeze=False)


def main():
    record = files.read_json(RESULTS) if RESULTS.is_file() else {}
    for name in TABLES:
        path = Path(FOLDER) / name / "result.json"
        if path.is_file():
            record[name] = compact(files.read_json(path))
    files.write_json(RESULTS, record)
    TARGET.mkdir(parents=True, exist_ok=True)
    if "corruptions" in record:
        draw_corruptions(record["corruptions"]["rows"], TARGET / "corruptions.png")
        print(*corruption_table(record["corruptions"]["rows"]), "", sep="\n")
    if "conditions" in record:
        print(*condition_table(record["conditions"]["rows"]), "", sep="\n")
    if "runs" in record:
        draw_runs(record["runs"]["rows"], TARGET / "runs.png")
        print(*run_table(record["runs"]["rows"]), sep="\n")


if __name__ == "__main__":
    main()
