"""The forms in which users have weights: wrapped names, nested states, variants, older archives."""

import collections
import decimal
import json
import pathlib
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from audioldm2_jax.checkpoints import download, hub, single, weights
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError

AUTHORS = hub.convention_named("authors")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms") / "tiny"
    write_random(folder, "tiny-audioldm")
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")


def vae(folder, variant=None):
    config = hub.read_config(folder, AUTHORS).vae
    return hub.load_part(folder, "vae", config, variant=variant)


def state_of(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    return state


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_forward_module.", "_orig_mod.", "model.", "module._orig_mod.", "net.vae."],
)
def test_a_prefix_of_all_names(folder, prefix):
    expected = vae(folder)
    state = {prefix + name: value for name, value in state_of(folder).items()}
    save_file(state, folder / "vae" / "diffusion_pytorch_model.safetensors")
    same(vae(folder), expected)


def test_wrappers_inside_names(folder):
    """As torch.compile and FSDP name the parts of a model that was not wrapped whole."""
    expected = vae(folder)
    state = {
        name.replace("encoder.", "encoder._orig_mod._fsdp_wrapped_module.", 1): value
        for name, value in state_of(folder).items()
    }
    save_file(state, folder / "vae" / "diffusion_pytorch_model.safetensors")
    same(vae(folder), expected)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("state_dict",), ("model_state_dict",), ("ema",), ("ema_state_dict",), ("module",),
        ("state_dict", "model", "module"), ("autoencoder",), (),
    ],
)  # fmt: skip
def test_weights_one_level_down(folder, names, old):
    expected = vae(folder)
    content = {f"module.{k}": torch.tensor(v) for k, v in state_of(folder).items()}
    for name in reversed(names):
        content = {name: content, "epoch": 3, "lr": 0.1, "optimizer": {"state": {0: {"a": [1]}}}}
    path = folder / "vae" / "diffusion_pytorch_model.bin"
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    same(vae(folder), expected)


class Callback:
    """Stands for objects of libraries that are not here."""

    def __init__(self):
        self.best, self.scores = pathlib.PosixPath("/x"), torch.zeros(3)


def test_foreign_objects_beside_the_state(tmp_path, monkeypatch):
    """Lightning's checkpoints; nothing of what they name is imported."""
    import builtins

    state = {"a.weight": torch.arange(6.0).reshape(2, 3)}
    content = {
        "state_dict": collections.OrderedDict(state),
        "callbacks": {"checkpoint": Callback()},
        "hyper_parameters": {"size": decimal.Decimal(3), "path": pathlib.Path("/"), "f": max},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "score": np.float64(3), "array": np.ones(3), "counts": collections.Counter("aab"),
        "set": {1, 2}, "type": Callback, "dtype": torch.float32, "device": torch.device("cpu"),
    }  # fmt: skip
    torch.save(content, tmp_path / "a.ckpt")
    original_import = builtins.__import__

    def watched(name, *arguments, **others):
        assert name.split(".")[0] not in ("torch", "decimal", __name__), name
        return original_import(name, *arguments, **others)

    monkeypatch.setattr(builtins, "__import__", watched)
    read = weights.read(tmp_path / "a.ckpt")
    monkeypatch.undo()
    assert list(read) == ["a.weight"]
    np.testing.assert_array_equal(read["a.weight"], state["a.weight"].numpy())


@pytest.mark.parametrize(
    "value, message",
    [
        (Callback(), "Callback"),
        (torch.nn.Linear(2, 2), "Linear"),
        (np.ones(3), "_reconstruct"),
        (torch.eye(3).to_sparse(), "_rebuild_sparse_tensor"),
        (torch.zeros(3, device="meta"), "_rebuild"),
    ],
)
def test_foreign_objects_in_place_of_tensors(tmp_path, value, message):
    torch.save({"state_dict": {"a": torch.ones(2), "b": value}}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=f"refused, it asks for .*{message}"):
        weights.read(tmp_path / "a.ckpt")


def test_several_sets_of_tensors(tmp_path, capsys):
    content = {"model": {"a": torch.zeros(1)}, "ema": {"a": torch.ones(1)}}
    torch.save(content, tmp_path / "a.pt")
    for choice, value in (("auto", 0), ("raw", 0), ("ema", 1)):
        assert weights.read(tmp_path / "a.pt", choice)["a"] == value
        key = "ema" if value else "model"
        assert f"the weights under {key} are taken" in capsys.readouterr().err
    torch.save({"one": content["model"], "two": content["ema"]}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="several sets of tensors: 'one two'"):
        weights.read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "beside, note",
    [
        ({"network": {"a": torch.ones(2)}}, "network"),
        ({"scale_factor": torch.ones(3)}, "scale_factor"),
        ({"loss": torch.tensor(1.0), "epoch": 3}, "loss"),
        ({"epoch": 3}, None),
    ],
)
@pytest.mark.parametrize("name", ["state_dict", "net"])
def test_what_lies_beside_a_state_is_told(tmp_path, capsys, name, beside, note):
    torch.save({name: {"a": torch.zeros(1)}} | beside, tmp_path / "a.pt")
    content = weights.read(tmp_path / "a.pt")
    if name == "net" and note in ("network", "scale_factor"):
        # A known name, or tensors of several elements, before a name that nobody knows.
        note = "net"
        assert set(content) == ({"scale_factor"} if "scale_factor" in beside else {"a"})
    else:
        assert content["a"] == 0
    message = capsys.readouterr().err
    assert f"not what lies under {note}" in message if note else not message


@pytest.mark.parametrize("old", [False, True])
def test_tensors_of_every_kind(tmp_path, old):
    """Views, shared storages, strides, parameters with attributes; both formats."""
    base = torch.arange(24.0).reshape(4, 6)
    parameter = torch.nn.Parameter(base * 2)
    parameter.note = "kept by torch as the state of a parameter"
    expected = {
        "whole": base, "turned": base.T, "part": base[1:3, ::2], "row": base[2], "again": base,
        "parameter": parameter, "buffer": torch.nn.Buffer(base + 1), "scalar": torch.tensor(3.5),
        "brain": base.bfloat16(), "half": base.half(), "empty": torch.zeros(0, 3),
        "bool": base > 3, "short": base.short(), "u16": torch.arange(4).to(torch.uint16),
        "expanded": torch.ones(1).expand(5),
    }  # fmt: skip
    torch.save(expected, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    read = weights.read(tmp_path / "a.pt")
    assert set(read) == set(expected)
    for name, value in expected.items():
        value = value.detach()
        assert read.shape(name) == tuple(value.shape)
        np.testing.assert_array_equal(read[name].astype(float), value.double().numpy(), name)


@pytest.mark.parametrize("keep", [20, 200, 0.5, -10])
def test_truncated_old_archives(tmp_path, keep):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(100)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match="not a complete torch archive|its pickle is damaged"):
        weights.read(path)


def halves(state):
    return {name: value.astype(np.float16) for name, value in state.items()}


@pytest.mark.parametrize("shards", ["no", "new names", "old names"])
def test_variants(folder, shards, capsys):
    """Alone, a variant is taken and said; beside the plain weights, by name."""
    plain = vae(folder)
    state, part = state_of(folder), folder / "vae"
    stem, half = "diffusion_pytorch_model", halves(state)
    if shards == "no":
        save_file(half, part / f"{stem}.fp16.safetensors")
    else:
        where = {}
        for i, names in enumerate(np.array_split(sorted(half), 2), 1):
            number = f"{i:05}-of-00002"
            name = f"{stem}.fp16-{number}" if shards == "new names" else f"{stem}-{number}.fp16"
            save_file({n: half[n] for n in names}, part / f"{name}.safetensors")
            where |= dict.fromkeys(names.tolist(), f"{name}.safetensors")
        index = part / f"{stem}.safetensors.index.fp16.json"
        index.write_text(json.dumps({"weight_map": where}))
    rounded = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), plain)
    same(vae(folder), rounded)
    assert "the weights of the variant 'fp16' are taken" in capsys.readouterr().err
    save_file(state, part / f"{stem}.safetensors")
    same(vae(folder), plain)
    same(vae(folder, "fp16"), rounded)
    assert capsys.readouterr().err == ""
    same(hub.load(folder, variant="fp16").params["vae"], rounded)
    with pytest.raises(InputError, match="no weights of the variant 'bf16'; its variants: 'fp16'"):
        hub.load(folder, variant="bf16")


def test_several_variants(folder):
    state, part = state_of(folder), folder / "vae"
    save_file(halves(state), part / "diffusion_pytorch_model.fp16.safetensors")
    save_file(state, part / "diffusion_pytorch_model.non_ema.safetensors")
    with pytest.raises(InputError, match="variants 'fp16' 'non_ema'; choose one"):
        vae(folder)
    vae(folder, "fp16")


def test_what_is_downloaded_of_variants():
    stem = "unet/diffusion_pytorch_model"
    both = [f"{stem}.safetensors", f"{stem}.fp16.safetensors", "model_index.json"]
    shards = [f"{stem}.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    shards.append(f"{stem}.safetensors.index.fp16.json")
    torch_file = f"{stem}.fp16.bin"
    assert download.choose(both) == ["model_index.json", both[0]]
    assert download.choose(both, "fp16") == ["model_index.json", both[1]]
    assert download.choose([*shards, torch_file]) == sorted(shards)
    assert download.choose([*shards, both[0]]) == [both[0]]
    assert download.choose([torch_file]) == [torch_file]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_weights_that_are_no_numbers(folder, value, stored):
    state = {k: v.astype(stored) for k, v in state_of(folder).items()}
    state["decoder.conv_in.weight"][2, 1, 0, 1] = value
    save_file(state, folder / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match="tensor decoder.conv_in.weight holds NaN or infinity"):
        vae(folder)
    with pytest.raises(InputError, match="holds NaN or infinity"):
        single.load(folder / "vae")


def test_weights_beyond_32_bits_and_of_other_types(folder):
    state, path = state_of(folder), folder / "vae" / "diffusion_pytorch_model.safetensors"
    large = state["quant_conv.bias"].astype(np.float64)
    large[0] = 1e300
    save_file(state | {"quant_conv.bias": large}, path)
    with pytest.raises(InputError, match="quant_conv.bias holds NaN or infinity"):
        vae(folder)
    save_file(state | {"quant_conv.bias": state["quant_conv.bias"].astype(np.int8)}, path)
    with pytest.raises(InputError, match="quant_conv.bias is stored as int8; weights are floats"):
        vae(folder)


def test_a_tensor_of_another_layout_is_not_cut_to_fit(folder):
    """A 3 x 3 convolution has a place for what a pointwise one keeps."""
    state, path = state_of(folder), folder / "vae" / "diffusion_pytorch_model.safetensors"
    kernel = np.zeros((*state["quant_conv.weight"].shape[:2], 3, 3), np.float32)
    save_file(state | {"quant_conv.weight": kernel}, path)
    with pytest.raises(InputError, match=r"quant_conv.weight has shape \(\d+, \d+, 3, 3\)"):
        vae(folder)
