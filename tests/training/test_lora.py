"""Low-rank changes: zero at first, merged as products, trained alone, heard in the pipeline."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import Pipeline, tree
from audioldm2_jax.checkpoints import hub, lora
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.run import open_run
from audioldm2_jax.training.state import state_shapes
from tests.data.corpora import write_corpus

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def params():
    config = PRESETS["tiny"]()
    return {name: random_params(name, getattr(config, name)) for name in ("unet", "gpt2")}


def test_a_fresh_change_changes_nothing(params):
    change = lora.make(params, 2, jax.random.key(0))
    merged = lora.merge(params, change)
    jax.tree.map(np.testing.assert_array_equal, merged, params)
    assert change.keys() == {"unet", "gpt2"}
    paths = " ".join(tree.flatten(change))
    assert "/cross/query/kernel/a" in paths and "/mlp/up/kernel/b" in paths


def test_merging_adds_the_product_and_files_keep_it(params, tmp_path):
    change = lora.make(params, 2, jax.random.key(0))
    change = jax.tree.map(lambda x: x + 0.1, change)
    lora.save(change, tmp_path / "x.safetensors")
    again = lora.load(tmp_path / "x.safetensors")
    jax.tree.map(np.testing.assert_array_equal, change, again)
    merged, flat = tree.flatten(lora.merge(params, again, 0.5)), tree.flatten(change)
    for path, value in tree.flatten(params).items():
        a, b = flat.get(f"{path}/a"), flat.get(f"{path}/b")
        added = 0.0 if a is None else 0.5 * a @ b
        np.testing.assert_allclose(merged[path], value + added, atol=1e-6)


def test_changes_of_another_model(params, tmp_path):
    change = lora.make(params, 2, jax.random.key(0))
    with pytest.raises(InputError, match="made for another one"):
        lora.merge({"unet": params["unet"]}, change)
    path = next(iter(tree.flatten(change))).rpartition("/")[0]
    other = {f"{path}/a": jnp.zeros((3, 2)), f"{path}/b": jnp.zeros((2, 5))}
    with pytest.raises(InputError, match="is made for"):
        lora.merge(params, tree.unflatten(other))
    with pytest.raises(InputError, match="no kernel matches"):
        lora.make(params, 2, jax.random.key(0), "nothing")
    with pytest.raises(InputError, match="no such LoRA file"):
        lora.load(tmp_path / "absent.safetensors")
    hub.weights.write(tmp_path / "other.safetensors", {"weight": np.zeros(3)})
    with pytest.raises(InputError, match="not of a LoRA file"):
        lora.load(tmp_path / "other.safetensors")


def open_lora_run(config, **values):
    values = {"base_checkpoint": "random", "lora": 2, "data.sources": "none"} | values
    return open_run(read_config(config, [f"--config.{k}={v}" for k, v in values.items()]))


def test_stage_trains_low_rank_changes_only():
    stage = open_lora_run("audioldm:tiny").spec.stage
    state = state_shapes(stage)
    assert set(state.params) == {"lora"} and not state.ema
    assert all(path.endswith(("/a", "/b")) for path in tree.flatten(state.params))


@pytest.mark.parametrize("stage", ["vae", "vocoder"])
@pytest.mark.parametrize("weight", [0, 1])
def test_stages_with_discriminators_refused(stage, weight):
    """With weight 0 too: a vocoder trains other parameters than a checkpoint holds."""
    with pytest.raises(InputError, match="against each other"):
        open_lora_run(f"{stage}:tiny", **{"settings.adversarial_weight": weight})


@pytest.mark.slow
def test_trained_exported_and_heard(tmp_path, monkeypatch, capsys):
    """Fine-tuning a checkpoint's folder; the file changes what the pipeline makes."""
    monkeypatch.chdir(ROOT)
    write_random(tmp_path / "model", "tiny-audioldm")
    corpus = write_corpus(tmp_path / "tones", 8, seconds=1.5)
    command = ["train", "--config=configs/audioldm.py:tiny", f"--workdir={tmp_path / 'run'}", "-q"]
    values = [
        f"data.sources={corpus}",
        f"base_checkpoint={tmp_path / 'model'}",
        "lora=2",
        "steps=2",
    ]
    values += [
        "settings.p_clap_audio=0.0",
        "log_every=1",
        "sample.every=2",
        "sample.prompts=a tone,",
    ]
    assert main([*command, *(f"--config.{value}" for value in values)]) == 0
    run = str(tmp_path / "run")
    board = b"".join(p.read_bytes() for p in (tmp_path / "run" / "tensorboard").iterdir())
    assert board.count(b"RIFF") == 2, "before and after"
    assert main(["export", run, str(tmp_path / "out")]) == 2
    assert "name it FILE.safetensors" in capsys.readouterr().err
    file = tmp_path / "mine.safetensors"
    assert main(["export", run, str(file)]) == 0
    settings = {"steps": 2, "seconds": 0.64, "progress": False}

    def wave(**changes):
        pipe = Pipeline.from_pretrained(tmp_path / "model", progress=False, **changes)
        out = pipe("a tone", **settings)
        return out.audio, json.dumps(out.metadata)

    plain, none, full = wave()[0], wave(lora=file, lora_strength=0.0)[0], wave(lora=file)
    np.testing.assert_array_equal(plain, none)
    assert np.abs(plain - full[0]).max() > 1e-6 and "mine.safetensors x 1" in full[1]
