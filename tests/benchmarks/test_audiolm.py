"""The benchmark of AudioLM's parts at tiny size: every row runs, and its JSON holds both sides."""

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """benchmarks/audiolm.py, whose modules import each other by their bare names."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import audiolm

    monkeypatch.setattr(audiolm, "use_threads", lambda count: None)
    return audiolm


def test_a_row_is_timed_and_stored(script, monkeypatch, tmp_path, capsys):
    calls = []
    names = ("ours", "theirs", "ours_half", "theirs_half", "theirs_other", "ours_alone")
    runs = {name: functools.partial(calls.append, name) for name in names}
    row = SimpleNamespace(runs=runs, goal=0.5, work=10, unit="tokens/s", note="")
    monkeypatch.setattr(script, "rows", lambda: {"a row": lambda size: row})
    output = tmp_path / "out.json"
    assert script.main(["--size", "tiny", "--repeats", "1", "--output", str(output)]) == 0
    assert calls == [*names] * 2
    stored = json.loads(output.read_text())["rows"]["a row"]
    assert stored["ratio"] == pytest.approx(stored["ours"] / stored["theirs"])
    assert stored["ratio_half"] == pytest.approx(stored["ours_half"] / stored["theirs_half"])
    assert stored["ratio_other"] == pytest.approx(stored["ours"] / stored["theirs_other"])
    printed = capsys.readouterr().out
    for label in ("| a row |", "| a row: half |", "| a row: other |"):
        assert printed.count(label) == 1
    assert script.main(["--rows", "none such"]) == 2
    assert "there are a row" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, work",
    [
        ("MusicGen-small decoding, batch 1", 20),
        ("DAC 16 kHz, batch 1", 1),
    ],
)
def test_both_sides_are_measured(script, tmp_path, name, work):
    output = tmp_path / "out.json"
    arguments = ["--size", "tiny", "--repeats", "1", "--rows", name, "--output", str(output)]
    assert script.main(arguments) == 0
    stored = json.loads(output.read_text())["rows"][name]
    assert stored["ours"] > 0 and stored["theirs"] > 0 and stored["work"] == work
