"""Which of two sets of a U-Net's weights is read: by what the model is, not by names beside it."""

import numpy as np
import pytest
import torch

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.checkpoints.authors import assemble
from audioldm2_jax.checkpoints.authors.source import open_file
from audioldm2_jax.cli.main import main
from audioldm2_jax.errors import InputError
from tests.checkpoints import test_authors as authors
from tests.checkpoints.test_authors import tokenizers  # noqa: F401

RAW, AVERAGE = "model.diffusion_model.", "model_ema."
FIRST = "input_blocks.0.0.weight"


def save_state(tmp_path, state) -> str:
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def average_of(name: str) -> str:
    """LitEma's name of a tensor of the U-Net."""
    return f"{AVERAGE}diffusion_model{name.replace('.', '')}"


def first(source):
    return source.parts["unet"][FIRST]


def without(state, prefix):
    return {name: value for name, value in state.items() if not name.startswith(prefix)}


ONE, MANY = "cond_stage_model.", "cond_stage_models.0."


@pytest.mark.parametrize(
    "name, conditioner, default",
    [
        ("audioldm-s", ONE, "ema"),
        ("audioldm-s", MANY, "ema"),
        ("audioldm2", MANY, "raw"),
        ("audioldm-48k", ONE, "raw"),
        ("audioldm-48k", MANY, "raw"),
        ("audioldm-t5", MANY, "raw"),
    ],
)
def test_the_choice_hangs_on_the_model(tmp_path, name, default, conditioner, capsys):
    """However the conditioner is named: the authors' training code numbers it."""
    state, renamed = authors.tensors_of(name), {}
    for key, value in state.items():
        for old in (ONE, MANY):
            if key.startswith(old):
                key = conditioner + key.removeprefix(old)
        renamed[key] = value
    source = open_file(save_state(tmp_path, renamed))
    key = average_of(FIRST) if default == "ema" else RAW + FIRST
    np.testing.assert_array_equal(first(source), state[key].numpy())
    assert ("moving average is taken" if default == "ema" else "raw weights are taken") in (
        source.choice_note
    )
    source.report()
    assert source.choice_note in capsys.readouterr().err


@pytest.mark.parametrize("name", ["audioldm-s", "audioldm2"])
def test_the_average_alone(tmp_path, name):
    """Its names without dots are those of the U-Net again."""
    state = authors.tensors_of(name)
    both = open_file(save_state(tmp_path, state), "ema")
    config, expected = assemble.model_config(both), dict(both.parts["unet"])
    alone = open_file(save_state(tmp_path, without(state, RAW)))
    assert set(alone.parts["unet"]) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(alone.parts["unet"][key], value)
    assert assemble.model_config(alone) == config
    assert "has no raw weights" in alone.choice_note
    with pytest.raises(InputError, match="holds the moving average .* alone; use --weights ema"):
        open_file(tmp_path / "a.ckpt", "raw")


def test_the_average_alone_becomes_the_model(tmp_path, tokenizers, capsys):  # noqa: F811
    state = without(authors.tensors_of("audioldm-s"), RAW)
    path, target = save_state(tmp_path, state), tmp_path / "hub"
    assert main(["convert", str(path), str(target), "--tokenizers", tokenizers]) == 0
    assert "moving average is taken" in capsys.readouterr().err
    config = hub.read_config(target, hub.convention_named("authors"))
    kernel = hub.load_part(target, "unet", config.unet)["conv_in"]["kernel"]
    expected = state[average_of(FIRST)].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_averages_that_are_not_whole(tmp_path):
    state = authors.tensors_of("audioldm-s")
    less = {k: v for k, v in state.items() if k != average_of("out.2.bias")}
    source = open_file(save_state(tmp_path, less))
    np.testing.assert_array_equal(first(source), state[RAW + FIRST].numpy())
    assert source.choice_note.endswith("its moving average lacks out.2.bias")
    with pytest.raises(InputError, match="no moving average .* it lacks out.2.bias"):
        open_file(tmp_path / "a.ckpt", "ema")
    alone = open_file(save_state(tmp_path, without(less, RAW)))
    with pytest.raises(InputError, match="tensor out.2.bias is missing"):
        assemble.load_part(alone, "unet", assemble.read_configs(alone)["unet"])
    odd = without(state, RAW) | {f"{AVERAGE}diffusion_modelother7weight": torch.zeros(3)}
    with pytest.raises(InputError, match="other7weight is of no known U-Net"):
        open_file(save_state(tmp_path, odd))


def test_other_keys_beside_the_average(tmp_path):
    state = authors.tensors_of("audioldm-s") | {f"{AVERAGE}beta": torch.zeros(1)}
    assert not open_file(save_state(tmp_path, state)).unused
    behind = {f"module.{name}": value for name, value in state.items()}
    source = open_file(save_state(tmp_path, behind))
    np.testing.assert_array_equal(first(source), state[average_of(FIRST)].numpy())
    assert source.scale == float(state["scale_factor"]) and not source.unused


@pytest.mark.parametrize(
    "missing, message",
    [
        ((RAW, AVERAGE), "neither a model nor one part"),
        ((RAW, AVERAGE, "first_stage_model."), "more than the clap that it holds"),
        (("first_stage_model.",), "but no vae with it"),
        (("first_stage_model.", "cond_stage_model."), "but no clap with it"),
    ],
)
def test_parts_of_a_model_are_no_model(tmp_path, missing, message, capsys):
    """A file that lacks the U-Net is not converted into what is left of it."""
    state = authors.tensors_of("audioldm-s") | {"another.weight": torch.zeros(2)}
    for prefix in missing:
        state = without(state, prefix)
    path = save_state(tmp_path, state)
    assert main(["convert", str(path), str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt"]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_factors_of_latents_that_are_none(tmp_path, value):
    state = authors.tensors_of("audioldm-s") | {"scale_factor": torch.tensor(value)}
    with pytest.raises(InputError, match="tensor scale_factor (is no factor|holds NaN)"):
        open_file(save_state(tmp_path, state))


def test_vectors_that_are_no_numbers(tmp_path):
    """The end vector of a sequence, which lies in one tensor with others."""
    name = "cond_stage_models.0.end_of_sequence_tokens.weight"
    state = authors.tensors_of("audioldm2")
    name = next(key for key in state if key.endswith("end_of_sequence_tokens.weight"))
    state[name] = state[name].clone()
    state[name][1, 3] = np.nan
    source = open_file(save_state(tmp_path, state))
    config = assemble.read_configs(source)["projection"]
    with pytest.raises(InputError, match="tensor eos_embed_1 holds NaN or infinity"):
        assemble.load_part(source, "projection", config)
