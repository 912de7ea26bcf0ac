"""Everything that is to be known of an accelerator's speed, by one command in ten minutes.

    python benchmarks/accelerator.py [--minutes 10] [--output FILE.json]
    python benchmarks/accelerator.py --table FILE.json

Parts, whole clips, first and second requests, a start from the cache of programs, training steps
and memory, of base and large with random weights; diffusers and its U-Net through torch.compile
take turns with ours where diffusers is installed. The JSON is written after every row; the same
command goes on with the rows that are missing. Needs jax, flax, optax, orbax, transformers, torch;
no weights, no network. docs/performance.md explains the rows and shows the table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from accelerator_plan import PLAN, SIZES, Row
from accelerator_table import table

HERE = Path(__file__).parent
OUTPUT = HERE / "results" / "accelerator.json"
# A row that begins with fewer seconds left would not end.
LEAST = 15
# What results of one file must have in common.
SAME = ("device", "platform", "versions", "XLA_FLAGS", "size")


def options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole command")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="JSON to write or to go on with"
    )
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--size", choices=SIZES, default="full", help="tiny: to try the script")
    parser.add_argument("--table", type=Path, help="print the Markdown table of a JSON, and stop")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--about", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def chapters(only: str, done: Iterable[str]) -> list[list[Row]]:
    """The plan without the rows that are there already."""
    done = set(done)
    missing = [[r for r in rows if r.name not in done and only in r.name] for rows in PLAN]
    return [rows for rows in missing if rows]


def finished(record: dict) -> bool:
    """Whether a row need not be measured again: it has a time, or does not fit."""
    return "error" not in record or record.get("out of memory", False)


def write(path: Path, stored: dict) -> None:
    """Writes the JSON, whole or not at all."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def follow(command: Sequence[str], until: float, emit: Callable[[str, dict], None], log) -> str:
    """Runs a process that prints rows as lines of JSON [name, record], and passes each to `emit`.

    It is ended at `until`, time.time(). Returns why it ended: "", "time" or its exit status.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    )
    late = threading.Event()

    def end():
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(max(0.0, until - time.time()), end)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith("["):
                emit(*json.loads(line))
        status = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "time" if late.is_set() else str(status) if status else ""


def measure(args, stored: dict, command: Callable[[list[Row], float], list[str]]) -> None:
    """Measures all missing rows of the plan within the time, and writes after each.

    command: (rows, until) -> the process that measures rows of one chapter.
    """
    until = time.time() + 60 * args.minutes
    done = [name for name, record in stored["rows"].items() if finished(record)]

    def emit(name, record):
        stored["rows"][name] = record
        stored["not run"] = [n for n in stored["not run"] if n != name]
        write(args.output, stored)
        print(f"{name}: {_short(record)}", flush=True)

    todo = chapters(args.only, done)
    stored["not run"] = [row.name for rows in todo for row in rows]
    write(args.output, stored)
    with args.output.with_suffix(".log").open("a", encoding="utf-8") as log:
        for rows in todo:
            # A row that ends its process is recorded, and the rows behind it get another.
            while (left := [r for r in rows if r.name in stored["not run"]]) and (
                time.time() < until - LEAST
            ):
                reason = follow(command(left, until - LEAST), until, emit, log)
                left = [r.name for r in left if r.name in stored["not run"]]
                if reason in ("", "time") or not left:
                    break
                emit(left[0], {"error": f"its process ended with status {reason}"})


def _short(record: dict) -> str:
    if "error" in record:
        return record["error"][:120]
    text = f"{1e3 * record['ours']:.2f} ms"
    if "theirs" in record:
        text += f", theirs {1e3 * record['theirs']:.2f} ms"
    return f"{text} (compiled in {record['compile']:.0f} s)"


def child(args) -> None:
    """Measures the rows that ACCELERATOR_ROWS names, and prints each."""
    begin = args.child / 1000
    rows = [Row(*row) for row in json.loads(os.environ["ACCELERATOR_ROWS"])]
    from accelerator_rows import run

    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is no row.
    for pair in run(rows, SIZES[args.size], args.until, begin):
        print(json.dumps(pair), file=output, flush=True)


def main(arguments=None):
    args = options(arguments)
    if args.table:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    if args.child is not None:
        child(args)
        return
    if args.about:
        from accelerator_rows import about

        print(json.dumps(about()))
        return
    # Both sides share the card, and each process the programs that an earlier one compiled.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cache = Path(tempfile.gettempdir()) / "audioldm2-jax-accelerator-cache"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    this = [sys.executable, __file__, f"--size={args.size}"]
    found = subprocess.run([*this, "--about"], check=True, capture_output=True, text=True)
    about = json.loads(found.stdout.strip().splitlines()[-1]) | {"size": args.size}
    stored = {"about": about, "rows": {}, "not run": []}
    if args.output.is_file():
        stored = json.loads(args.output.read_text(encoding="utf-8"))
        for name in SAME:
            if stored["about"].get(name) != about[name]:
                raise SystemExit(
                    f"{args.output}: measured with {name} {stored['about'].get(name)}, not "
                    f"{about[name]}; name another --output"
                )
    stored["about"]["date"] = str(datetime.date.today())

    def command(rows, until):
        os.environ["ACCELERATOR_ROWS"] = json.dumps(rows)
        return [*this, f"--child={int(1000 * time.time())}", f"--until={until}"]

    measure(args, stored, command)
    print()
    print(table(stored))


if __name__ == "__main__":
    main()
