"""AudioLM's parts and MusicGen against transformers, in one run, alternating, on this CPU.

    python benchmarks/audiolm.py [--rows NAME ...] [--repeats 3] [--size tiny]

Both sides have the same random weights, fp32 and the same threads. The rows are the `ROWS` of the
modules `audiolm_*.py` beside this file: {name: function of the size -> `audiolm_row.Row`}. Writes
benchmarks/results/audiolm-cpu-fp32.json (not of tiny sizes) and prints a table.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
from pathlib import Path

HERE = Path(__file__).parent


def options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", metavar="NAME", help="default all")
    parser.add_argument("--repeats", type=int, default=3, help="samples of each side of a row")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--output", type=Path, help="JSON file; default benchmarks/results/...")
    return parser.parse_args(arguments)


def use_threads(count: int) -> None:
    """Before JAX and torch are imported: both compute with so many threads."""
    os.environ |= {"OMP_NUM_THREADS": str(count), "JAX_PLATFORMS": "cpu"}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def rows() -> dict:
    """{name: function of the size ("full" or "tiny") -> `audiolm_row.Row`}."""
    modules = (importlib.import_module(file.stem) for file in sorted(HERE.glob("audiolm_*.py")))
    return {name: row for module in modules for name, row in getattr(module, "ROWS", {}).items()}


def measure(make, size: str, repeats: int) -> dict:
    """Medians of a row in seconds, ratios (ours / theirs), and what a call computes."""
    from timing import alternate

    row = make(size)
    for run in row.runs.values():
        run()
    result = alternate(row.runs, repeats)
    for theirs in (side for side in row.runs if side.startswith("theirs")):
        result[_ratio(theirs)] = result[_ours(theirs, row.runs)] / result[theirs]
    result |= {"goal": row.goal, "work": row.work, "unit": row.unit, "note": row.note}
    return result


def _ours(theirs: str, sides) -> str:
    """What a side is compared with: `ours_x` for `theirs_x` if there is one, else `ours`."""
    own = theirs.replace("theirs", "ours", 1)
    return own if own in sides else "ours"


def _ratio(theirs: str) -> str:
    return theirs.replace("theirs", "ratio", 1)


def lines(name: str, result: dict) -> str:
    """The rows of the table: one for each side of theirs. Work is that of the first."""
    rows = []
    for theirs in (side for side in result if _ratio(side) in result and side != _ratio(side)):
        ours, first = _ours(theirs, result), theirs == "theirs"
        label = name if first else f"{name}: {theirs.removeprefix('theirs_')}"
        rates = [f"{result[side]:.4g} s" for side in (ours, theirs)]
        if first:
            rates = [f"{result['work'] / result[s]:.4g} {result['unit']}" for s in (ours, theirs)]
        goal = f"{result['goal']:g}" if first else ""
        rows.append(f"| {' | '.join([label, *rates, f'{result[_ratio(theirs)]:.3f}', goal])} |")
    return "\n".join(rows)


def about(threads: int) -> dict:
    """The machine and the packages."""
    import jax
    import torch
    import transformers

    return {
        "date": datetime.date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "threads": threads,
        "dtype": "fp32",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main(arguments=None) -> int:
    args = options(arguments)
    use_threads(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    known = rows()
    names = args.rows or list(known)
    if unknown := [name for name in names if name not in known]:
        print(f"error: no row {unknown[0]!r}; there are {' '.join(known)}", file=sys.stderr)
        return 2
    output = args.output
    if output is None and args.size == "full":
        output = HERE / "results" / "audiolm-cpu-fp32.json"
    stored = {"about": about(args.threads), "rows": {}}
    print("| | ours | transformers | ours / theirs | goal |\n|---|---|---|---|---|")
    for name in names:
        stored["rows"][name] = measure(known[name], args.size, args.repeats)
        print(lines(name, stored["rows"][name]), flush=True)
        if output is not None:
            output.write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
