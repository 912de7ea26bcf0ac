"""Ablations: what GPT-2 does not read is zero, and stays so in training."""

import numpy as np
import pytest

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.recipes.nano import ablate
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.run import open_run


@pytest.mark.parametrize("text", ["clap", "text"])
def test_a_blind_model(tmp_path, text):
    write_random(tmp_path / "model", "tiny")
    ablate.blind(tmp_path / "model", tmp_path / "blind", text)
    pair = (hub.load(tmp_path / name).params for name in ("model", "blind"))
    before, blind = map(tree.flatten, pair)
    unlike = [path for path in before if not np.array_equal(before[path], blind[path])]
    assert unlike == [f"projection/{text}/kernel"] and not np.any(blind[unlike[0]])


def test_runs_hold_what_is_zero(monkeypatch, tmp_path):
    """Every run's values are those of a joint stage; no group trains the zero kernel."""
    calls = []
    monkeypatch.setattr(ablate, "run", lambda *words: calls.append(list(map(str, words))))
    monkeypatch.setattr(ablate, "blind", lambda *_: None)
    for name, (_, text) in ablate.RUNS.items():
        calls.clear()
        ablate.ablate(name, tmp_path)
        config, values = calls[0][1].removeprefix("--config="), calls[0][3:]
        run = open_run(read_config(config, [*values, "--config.base_checkpoint="]))
        fixed = run.spec.stage.groups["model"].frozen_params
        assert any("projection" in pattern for pattern in fixed) == bool(text), name
        assert run.config.steps == run.config.optim.steps == ablate.STEPS
