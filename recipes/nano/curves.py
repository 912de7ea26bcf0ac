"""Training curves of the embedded model's stages: a CSV of each and one picture, in docs/nano.

    python -m audioldm2_jax.recipes.nano.curves

Reads the runs below $NANO (default `nano`); stages without a run keep what is there.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from audioldm2_jax.configs.nano.common import FOLDER
from audioldm2_jax.recipes.nano.build import ROOT, STAGES

TARGET = ROOT / "docs" / "nano"
# What is drawn of each stage: of the batches trained on, and of held-out clips.
SHOWN = {
    "panns": "top",
    "audiomae": "loss",
    "clap": "retrieval",
    "vae": "generator/l1",
    "vocoder": "mel",
    "loa": "free",
    "pretrain": "loss",
    "joint": "diffusion",
    "joint-notes": "diffusion",
    "joint-more": "diffusion",
    "listener": "loss",
    "speech-loa": "free",
    "speech-pretrain": "loss",
    "speech-joint": "diffusion",
}


def write_csv(run: Path, path: Path) -> None:
    """A run's scalars, a column each: what TensorBoard shows."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # A run that went on from an earlier state tells some steps again.
    steps: dict[int, dict] = {}
    for line in lines:
        steps.setdefault(line["step"], {}).update(line)
    names = sorted({name for line in lines for name in line} - {"step"})
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["step", *names])
        for step in sorted(steps):
            cells = (steps[step].get(name) for name in names)
            table.writerow([step, *("" if cell is None else f"{cell:.6g}" for cell in cells)])


def read_csv(path: Path) -> dict[str, list[tuple[int, float]]]:
    """{scalar: [(step, value)]}."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "step"] if rows else []
    return {
        name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in names
    }


def draw(files: dict[str, Path], path: Path) -> None:
    """One picture of all stages."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(3, 5, figsize=(18, 9), constrained_layout=True)
    for axis in axes.flat[len(STAGES) :]:
        axis.set_axis_off()
    for axis, stage in zip(axes.flat, STAGES):
        axis.set_title(f"{stage}: {SHOWN[stage]}", size=10)
        if stage not in files:
            axis.set_axis_off()
            continue
        curves = read_csv(files[stage])
        for name, label in ((SHOWN[stage], "training"), (f"valid/{SHOWN[stage]}", "held out")):
            if name in curves:
                axis.plot(*zip(*curves[name]), label=label)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("step")
        axis.legend()
    drawing.savefig(path, dpi=70)


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    files = {}
    for stage in STAGES:
        run, path = Path(FOLDER) / "runs" / stage, TARGET / f"{stage}.csv"
        if (run / "metrics.jsonl").is_file():
            write_csv(run, path)
        if path.is_file():
            files[stage] = path
    draw(files, TARGET / "curves.png")
    print(*files.values(), TARGET / "curves.png", sep="\n")


if __name__ == "__main__":
    main()
