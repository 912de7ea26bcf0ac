"""A disk that fills while a command writes: one line, nothing that looks finished, and a rerun.

The limit on a file's size stands for the full disk: writing beyond it fails with an OSError.
"""

from __future__ import annotations

import contextlib
import resource
import signal
from pathlib import Path

import pytest

from audioldm2_jax.errors import InputError
from tests.fuzz import law
from tests.laws.commands import COMMANDS, ROOT

# What makes a result look finished, by command.
FINISHED = {
    "generate": "*.wav",
    "convert": "model_index.json",
    "prepare": "dataset_info.json",
    "soundscapes": "metadata.jsonl",
    "encode": "dataset_info.json",
    "train": "checkpoints/3/_CHECKPOINT_METADATA",
    "export": "config.json",
    "evaluate": "result.json",
}


@contextlib.contextmanager
def full(size: int):
    """No file grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


def sizes(target: Path) -> list[int]:
    """Limits of which each stops the command at another of its files, the smallest first."""
    files = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
    return sorted({0, *(p.stat().st_size - 1 for p in files)} - {-1})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_full_disk(inputs, tmp_path, request, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    command, whole = COMMANDS[name], tmp_path / "whole"
    law.command(*command.words(inputs, whole))
    expected, limits = command.content(whole), sizes(whole)
    if float(request.config.getoption("--fuzz-seconds")) <= 60:
        limits = sorted({limits[0], limits[-1]})
    refused = 0
    for limit in limits:
        target = tmp_path / f"full-{limit}"
        words, error = command.words(inputs, target), None
        with full(limit):
            try:
                law.command(*words)
            except InputError as caught:
                error = str(caught)
        where = f"{name}, files of at most {limit} bytes"
        if error is None:
            # Files that only this run's clock makes larger.
            continue
        refused += 1
        pattern = FINISHED[name]
        finished = [str(p) for p in target.glob(f"**/{pattern}") if ".work" not in p.parts]
        assert not finished, f"{where}: {finished}"
        if name in ("convert", "export", "generate"):
            assert not target.exists() or not any(target.iterdir()), f"{where}: {target} stays"
        law.command(*words)
        assert command.content(target) == expected, where
    assert refused, limits
    left = {p.name for p in tmp_path.iterdir()} - {"whole", *(f"full-{x}" for x in limits)}
    assert not left, left
