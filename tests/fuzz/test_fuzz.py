"""No damaged file and no odd option ends in anything but an answer or one line: see `law`."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import law
from tests.fuzz.targets import Case, copied, data, models, options, runs, texts

TARGETS = [*models.TARGETS, *data.TARGETS, *runs.TARGETS, *texts.TARGETS, *options.TARGETS]
SECONDS = 60.0


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Valid input of each target that has been asked for."""
    return tmp_path_factory.mktemp("fuzz")


def template(root: Path, target) -> Path:
    """The target's valid input, built once."""
    path = root / target.name
    if not path.exists():
        target.build(path)
    return path


def run_case(target, root: Path, seed: str, number: int, folder: Path) -> str:
    """Raises law.Broken with the seed, the damage and where the input lies."""
    rng = random.Random(f"{seed}/{target.name}/{number}")
    case = Case(rng, folder / "input", folder / "output", root / target.name)
    shutil.rmtree(folder, ignore_errors=True)
    copied(case.template, case.input)
    case.output.mkdir()
    note = target.damage(rng, case.input) if number else "none"
    try:
        with law.released(folder, target.limit):
            refusal = law.lawful(lambda: target.run(case), target.limit, target.memory)
        law.require(number or not refusal or not target.valid, "valid input is refused", refusal)
        if refusal and (names := target.finished(case.output)):
            law.require(False, "what was refused left finished output", str(names))
    except law.Broken as error:
        where = f"{target.name}, seed {seed}, case {number}, damage {note}"
        raise law.Broken(f"{error} [{where}]", error.signature) from error
    return "refused" if refusal else "answer"


def _parameter(target):
    """Those that compile programs for each case are slow."""
    marks = [pytest.mark.slow] if target.limit >= 60 else []
    return pytest.param(target, id=target.name.replace(" ", "-"), marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("target", map(_parameter, TARGETS))
def test_law(target, root, tmp_path, request, capsys):
    seconds = float(request.config.getoption("--fuzz-seconds"))
    seed = request.config.getoption("--fuzz-seed")
    only = request.config.getoption("--fuzz-case")
    for other in TARGETS:
        if other.name in target.needs or other is target:
            template(root, other)
    share = seconds * target.share / sum(t.share for t in TARGETS)
    results, count, outcomes, start = {}, 0, {"answer": 0, "refused": 0}, time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        # Caches, plug-ins and warnings' filters settle with the first, undamaged case.
        try:
            run_case(target, root, seed, 0, tmp_path / "case")
        except law.Broken as error:
            if "state changed" not in error.signature:
                raise
            run_case(target, root, seed, 0, tmp_path / "case")
        begin = time.monotonic()
        while only is None and (count < target.least or time.monotonic() - begin < share):
            count += 1
            _try(target, root, seed, count, tmp_path, results, outcomes)
        if only is not None:
            count = target.least
            _try(target, root, seed, int(only), tmp_path, results, outcomes)
    with capsys.disabled():
        took = time.monotonic() - start
        print(f"\n{target.name}: {count} cases {outcomes}, {took:.1f} s", file=sys.stderr)
    assert count >= target.least
    assert not results, "\n\n".join(results.values())


def _try(target, root, seed, number, tmp_path, results, outcomes):
    folder = tmp_path / "case"
    try:
        outcomes[run_case(target, root, seed, number, folder)] += 1
    except law.Broken as error:
        if error.signature not in results:
            kept_input = tmp_path / f"kept-{number}"
            shutil.rmtree(kept_input, ignore_errors=True)
            folder.rename(kept_input)
            results[error.signature] = f"{error}; input: {kept_input}"
            if os.environ.get("FUZZ_LOG"):
                with open(os.environ["FUZZ_LOG"], "a") as log:
                    print(results[error.signature].encode("unicode_escape").decode(), file=log)


BREAKS = {
    "ZeroDivisionError": lambda: 1 / 0,
    "state changed": lambda: sys.path.append("x"),
    "several lines": lambda: law.check_message("a\nb"),
    "control characters": lambda: law.check_message("\x1b[31m"),
    "more than 0.2 s": lambda: time.sleep(60),
    "MB of memory": lambda: b"x" * (300 << 20),
    "MemoryError": lambda: bytearray(4 << 30),
}


@pytest.mark.parametrize("message", BREAKS)
def test_law_can_break(message, monkeypatch):
    """Each clause of the law fails a case that breaks it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(law.Broken, match=message):
        law.lawful(BREAKS[message], 0.2 if "0.2" in message else 20, 100 << 20)
