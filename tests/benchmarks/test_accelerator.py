"""The benchmark of accelerators at tiny size: every kind of row, its JSON and its table."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.kernels import xla_kernels

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
PRINTS = "import json, sys, time\nrow = lambda i: print(json.dumps([ROWS[i], {}]), flush=True)\n"


@pytest.fixture(scope="module")
def scripts():
    """The modules of benchmarks/, which import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        import accelerator
        import accelerator_plan
        import accelerator_table

        yield SimpleNamespace(main=accelerator, plan=accelerator_plan, table=accelerator_table)


@pytest.fixture(scope="module")
def stored(scripts):
    """Tiny rows of all kinds, measured in this process."""
    import accelerator_rows
    import torch

    plan, size = scripts.plan, scripts.plan.SIZES["tiny"]
    sampling = [("clip", 1), ("U-Net step", 1, plan.EAGER), ("VAE decode", 1, plan.EAGER)]
    chapters = [
        [
            *(plan.Row("base", "fp32", "sampling", *row) for row in sampling),
            plan.Row("base", "fp32", "start", "clip", 1),
        ],
        [plan.Row("base", "fp32", "training", "loa", 2)],
    ]
    threads, rows = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        xla_kernels(patch)
        for chapter in chapters:
            begin = time.time()
            rows |= dict(accelerator_rows.run(chapter, size, begin + 600, begin))
    torch.set_num_threads(threads)
    about = accelerator_rows.about() | {"size": "tiny", "date": "2000-01-01"}
    return {"about": about, "rows": rows, "not run": ["base fp32 sampling: clip @16"]}


@pytest.mark.slow
def test_rows_hold_times_and_memory(stored):
    rows = json.loads(json.dumps(stored["rows"]))
    assert len(rows) == 5
    for name, record in rows.items():
        assert "error" not in record, (name, record)
        assert record["ours"] > 0 and record["compile"] > 0
        if "start" not in name:
            assert len(record["ours_samples"]) == 2 and record["ours first call"] > 0
    step = rows["base fp32 sampling: U-Net step @1 diffusers"]
    assert step["theirs"] > 0 and step["ratio"] == step["ours"] / step["theirs"]
    assert step["GB predicted"] > 0 and rows["base fp32 training: loa @2"]["GB predicted"] > 0
    assert rows["base fp32 start: clip @1"]["since the process began"] > 0


@pytest.mark.slow
def test_the_table_tells_what_is_there_and_what_is_not(scripts, stored):
    broken = {"base bf16 sampling: clip @64": {"error": "RESOURCE_EXHAUSTED", "clips": 64}}
    text = scripts.table.table(stored | {"rows": stored["rows"] | broken})
    assert "| base fp32 | U-Net step | 1 |" in text and "| base fp32 | loa | 2 |" in text
    assert "- base bf16 sampling clip @64: RESOURCE_EXHAUSTED" in text
    assert "Not run, for the time was up: base fp32 sampling: clip @16." in text
    assert "no figures to compare" in text


@pytest.mark.slow
def test_it_needs_no_more_than_a_bare_machine_has():
    """jax, flax, optax, orbax, transformers, torch and what these require."""
    absent = "soundfile soxr sentencepiece PIL ml_collections grain array_record pyarrow diffusers"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent.split()}))\n"
    code += "import accelerator_rows, training\ntry: import torch_pipeline\n"
    code += "except ImportError as error: print(error)\n"
    path = {"PYTHONPATH": f"{BENCHMARKS}:{BENCHMARKS.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "diffusers" in done.stdout


def processes(scripts, tmp_path, body: str, minutes: float = 1.0) -> dict:
    """`measure` with processes that run `body`, which knows ROWS, in place of the rows."""
    args = SimpleNamespace(minutes=minutes, only="base bf16 sampling: clip", output=tmp_path / "o")
    stored = {"about": {}, "rows": {}, "not run": []}

    def command(rows, until):
        return [sys.executable, "-c", f"ROWS = {[r.name for r in rows]}\n{PRINTS}{body}"]

    scripts.main.measure(args, stored, command)
    assert json.loads(args.output.read_text()) == stored
    return stored


@pytest.fixture
def record(monkeypatch, scripts):
    """Records of these tests are empty."""
    monkeypatch.setattr(scripts.main, "_short", lambda record: "")


def test_a_row_that_ends_its_process_is_recorded_and_the_next_ones_run(scripts, tmp_path, record):
    body = "if '@8' in ROWS[0]: sys.exit(7)\nfor i in range(len(ROWS)):\n"
    body += "    if '@8' in ROWS[i]: sys.exit(7)\n    row(i)\n"
    stored = processes(scripts, tmp_path, body)
    errors = {name: r for name, r in stored["rows"].items() if r}
    assert list(errors) == ["base bf16 sampling: clip @8 diffusers"]
    assert errors.popitem()[1] == {"error": "its process ended with status 7"}
    assert len(stored["rows"]) == 5 and stored["not run"] == []


def test_what_the_time_does_not_allow_is_named(scripts, tmp_path, record, monkeypatch):
    monkeypatch.setattr(scripts.main, "LEAST", 0)
    begin = time.time()
    stored = processes(scripts, tmp_path, "row(0)\ntime.sleep(60)", minutes=1 / 60)
    assert time.time() - begin < 20
    assert list(stored["rows"]) == ["base bf16 sampling: clip @1 diffusers"]
    assert "base bf16 sampling: clip @largest" in stored["not run"]


def test_a_second_run_measures_what_is_missing(scripts):
    plan, main = scripts.plan, scripts.main
    names = [row.name for rows in plan.PLAN for row in rows]
    assert len(set(names)) == len(names)
    left = [row.name for rows in main.chapters("", names[1:-1]) for row in rows]
    assert left == [names[0], names[-1]]
    assert main.finished({"ours": 1.0})
    assert main.finished({"error": "RESOURCE_EXHAUSTED", "out of memory": True})
    assert not main.finished({"error": "its process ended with status 7"})
