"""One table of samplers feeds the command's help, the errors and the docs."""

import re
from pathlib import Path

import pytest

from audioldm2_jax.cli import main
from audioldm2_jax.diffusion import registry, samplers
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

DOCS = Path(__file__).parents[2] / "docs" / "samplers.md"


def dummy(config, timesteps):
    """A sampler for this test."""
    return samplers.SAMPLERS["euler"](config, timesteps)


def table() -> dict[str, str]:
    """{name: description} of the docs' first table."""
    text = DOCS.read_text(encoding="utf-8").partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\S+)` \| ([^|]+?) \|", text, re.MULTILINE))


def test_docs_are_the_registry_s():
    assert table() == {name: registry.describe(name) for name in registry.SAMPLERS}


def test_a_further_sampler(monkeypatch, capsys):
    monkeypatch.setitem(registry.SAMPLERS, "dummy", dummy)
    with pytest.raises(SystemExit):
        main.main(["generate", "--help"])
    assert "dummy" in capsys.readouterr().out
    schedule = samplers.make_schedule("dummy", ScheduleConfig(), samplers.Timesteps(7))
    assert len(schedule.timesteps) == 7
    with pytest.raises(InputError, match="dummy"):
        samplers.make_schedule("none", ScheduleConfig(), samplers.Timesteps(7))
    assert set(registry.SAMPLERS) - set(table()) == {"dummy"}
    assert registry.describe("dummy") == "A sampler for this test."
