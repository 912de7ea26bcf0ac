"""The largest batches of AudioLDM 2's pre-training on three TPU pods, compiled without a TPU.

On a corpus that was encoded beforehand, as such a run would be.

    python benchmarks/rehearsals.py [--only base:v5e:4x4] [--remat blocks] [--trials 4]

Runs `audioldm2-jax rehearse` with a guess for the clips on each chip, and again with what its
memory suggests, until the next larger batch would not fit or the trials are used up. A
compilation takes a quarter of an hour of a core (base) to three quarters (large, 23 GB of memory).
Writes benchmarks/results/rehearsals.json after each cell, and prints the README's table: what was
compiled, and the largest batch that its memory leads to.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from audioldm2_jax import files

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "rehearsals.json"
# The mesh, and clips on each chip to begin with.
CELLS = {
    "base:v5e:4x4": ({"fsdp": 4}, 10),
    "large:v5e:4x4": ({"fsdp": 16}, 2),
    "base:v5p:4x4x4": ({"fsdp": 1}, 64),
    "large:v5p:4x4x4": ({"fsdp": 1}, 28),
    "base:v6e:16x16": ({"fsdp": 4}, 22),
    "large:v6e:16x16": ({"fsdp": 4}, 9),
}
CHIPS = {"v5e:4x4": 16, "v5p:4x4x4": 64, "v6e:16x16": 256}
# The share of a chip's memory that a step may take.
USABLE = 0.97


def rehearse(cell: str, per_chip: int, remat: str) -> dict:
    """What the command prints for so many clips on each chip."""
    model, topology = cell.split(":", 1)
    command = [sys.executable, "-m", "audioldm2_jax", "rehearse", f"--topology={topology}", "-q"]
    command += [f"--config={HERE.parent}/configs/pretrain.py:{model}"]
    command += [f"--config.mesh.{axis}={size}" for axis, size in CELLS[cell][0].items()]
    command += [f"--config.batch={per_chip * CHIPS[topology]}", f"--config.remat={remat}"]
    command += ["--encoded"]
    process = subprocess.run(command, check=False, capture_output=True, text=True, cwd=HERE.parent)
    if process.returncode:
        raise SystemExit(f"{cell}: status {process.returncode}, {process.stderr.strip()[-500:]}")
    return json.loads(process.stdout)


def largest(cell: str, remat: str, trials: int) -> dict:
    """The largest compiled batch's figures; `largest` is the batch that its memory leads to."""
    per_chip, reports = CELLS[cell][1], {}
    for _ in range(trials):
        report = rehearse(cell, per_chip, remat)
        reports[per_chip] = report
        fixed = report.get("GB arguments", 0.0)
        room = USABLE * report["GB chip"] - fixed
        suggested = max(1, int(room / ((report["GB total"] - fixed) / per_chip)))
        report["largest"] = suggested * report["chips"]
        print(
            f"{cell}: {per_chip} a chip, {report['GB total']:.1f} GB, next {suggested}", flush=True
        )
        if not report["fits"]:
            suggested = min(suggested, per_chip - 1)
        if suggested in reports:
            break
        per_chip = suggested
    fitting = [n for n, report in reports.items() if report["fits"]]
    if not fitting:
        raise SystemExit(f"{cell}: nothing fits; lower the guess")
    return reports[max(fitting)] | {"remat": remat, "mesh": CELLS[cell][0]}


def table(cells: dict) -> str:
    """Markdown."""
    lines = [
        "| model, pod | chips | batch | GB a chip | largest batch | TFLOP a chip | step, s | "
        "clips/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, c in cells.items():
        memory = f"{c['GB total']:.1f} of {c['GB chip']:.0f}"
        step = f"{c['seconds predicted']:.2f} ({c['bound by']})"
        lines.append(
            f"| {name.replace(':', ', ', 1)} | {c['chips']} | {c['batch']} | {memory} | "
            f"{c['largest']} | {c['TFLOP']:.1f} | {step} | {c['clips/s predicted']:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CELLS, action="append")
    parser.add_argument("--remat", default="none")
    parser.add_argument("--trials", type=int, default=4)
    options = parser.parse_args()
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"cells": {}}
    for cell in options.only or CELLS:
        stored["cells"][cell] = largest(cell, options.remat, options.trials)
        stored["date"] = str(datetime.date.today())
        stored["versions"] = {name: metadata.version(name) for name in ("jax", "libtpu", "flax")}
        files.write_json(RESULTS, stored)
    print(table({cell: stored["cells"][cell] for cell in CELLS if cell in stored["cells"]}))


if __name__ == "__main__":
    main()
