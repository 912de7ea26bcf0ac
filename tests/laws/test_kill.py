"""Killed before any of its changes of the file system, a command run again ends as if never killed.

The kill is SIGKILL, from an audit hook that counts what the process opens for writing, renames and
removes below the target's folder: every such place is one where a crash could leave something.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.laws.commands import COMMANDS, ROOT

KILLED = ("convert", "prepare", "soundscapes", "encode", "train", "export", "evaluate")
PROGRAM = """
import os, signal, sys
from audioldm2_jax.cli.main import main

folder, last = os.environ["KILL_BELOW"], int(os.environ["KILL_AT"])
count, names = 0, {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}

def hook(event, arguments):
    global count
    if event == "open":
        writes = isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        writes = writes or (isinstance(arguments[2], int) and arguments[2] & 3)
        if not writes:
            return
    elif event not in names:
        return
    try:
        below = os.path.abspath(os.fsdecode(arguments[0])).startswith(folder)
    except TypeError:
        return
    if below:
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
code = main()
print("changes", count, file=sys.stderr)
sys.exit(code)
"""


def run(words, folder: Path, at: int) -> tuple[int, int, str]:
    """(exit code, changes of the file system, stderr) of a process killed before the `at`-th."""
    changes = {"KILL_BELOW": str(folder), "KILL_AT": str(at), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | changes, cwd=ROOT, timeout=300
    )
    lines = done.stderr.splitlines()
    counted = [int(x.split()[1]) for x in lines if x.startswith("changes ")]
    return done.returncode, (counted or [0])[0], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_rerun_ends_as_if_never_killed(inputs, tmp_path, request, name):
    command = COMMANDS[name]
    (tmp_path / "whole").mkdir()
    code, changes, err = run(command.words(inputs, tmp_path / "whole" / "x"), tmp_path, 0)
    assert code == 0 and changes > 0, err
    expected = command.content(tmp_path / "whole" / "x")
    beside = sorted(p.name for p in (tmp_path / "whole").iterdir())
    rng = random.Random(f"{request.config.getoption('--fuzz-seed')}/{name}")
    more = float(request.config.getoption("--fuzz-seconds")) > 60
    places = range(1, changes + 1) if more else [rng.randint(1, changes)]
    for at in places:
        folder = tmp_path / f"killed-{at}"
        folder.mkdir()
        words = command.words(inputs, folder / "x")
        assert run(words, tmp_path, at)[0] == -9
        code, _, err = run(words, tmp_path, 0)
        assert code == 0, f"killed at change {at} of {changes}: {err}"
        assert command.content(folder / "x") == expected, f"killed at change {at} of {changes}"
        left = sorted(p.name for p in folder.iterdir())
        assert left == beside, f"killed at change {at} of {changes}: {left} stay"
