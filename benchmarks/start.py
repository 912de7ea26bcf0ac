"""Processes that load a model and sample two steps: ours with empty and filled caches, diffusers'.

They run in turn. The processor's time is of the whole process with its imports; it hardly depends
on what else the machine does. Writes results/start-cpu-fp32.json.

Usage: python benchmarks/start.py [--folder runs/base] [--repeats 2]
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from pathlib import Path

from versus_diffusers import HERE, in_child

from audioldm2_jax import files

FIGURES = {
    "cpu_seconds": "processor time, s",
    "load_and_two_steps": "wall time without imports, s",
    "load": "load, wall time, s",
    "peak_gb": "peak memory, GB",
}


def measure(args) -> dict[str, list[dict]]:
    """{candidate: the figures of its processes}, the later two in turn."""
    rows: dict[str, list[dict]] = {"ours_first": [], "ours_cached": [], "theirs": []}
    with tempfile.TemporaryDirectory() as cache:
        for name in ["ours_first"] + ["ours_cached", "theirs"] * args.repeats:
            before = os.getloadavg()[0]
            row = in_child(name.split("_")[0], args, XDG_CACHE_HOME=cache)
            rows[name].append(row | {"load_average": before})
            print(name, rows[name][-1], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/base"), help="a checkpoint")
    parser.add_argument("--repeats", type=int, default=2, help="processes of each candidate")
    parser.add_argument("--dtype", default="fp32", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not (args.folder / "model_index.json").exists():
        from audioldm2_jax.data.untrained import write_random

        write_random(args.folder, "base")
    rows = measure(args)
    best = {
        key: {name: min(row[key] for row in group) for name, group in rows.items()}
        for key in FIGURES
    }
    result = {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "best": best}
    files.write_json(HERE / "results" / "start-cpu-fp32.json", result | {"processes": rows})
    print(
        "\n| | first | cached | diffusers | cached / diffusers |\n| --- | --- | --- | --- | --- |"
    )
    for key, label in FIGURES.items():
        first, cached, theirs = (best[key][name] for name in rows)
        print(f"| {label} | {first:.1f} | {cached:.1f} | {theirs:.1f} | {cached / theirs:.2f} |")


if __name__ == "__main__":
    main()
