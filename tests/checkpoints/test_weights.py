"""Torch archives are read without torch, and cannot run anything."""

import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from audioldm2_jax.checkpoints.weights import fold_weight_norm, read
from audioldm2_jax.errors import InputError


def tensors():
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(4, 6, generator=generator)
    return {
        "plain": draw,
        "half": draw.half(),
        "brain": draw.bfloat16(),
        "double": draw.double(),
        "ids": torch.arange(5),
        "flags": torch.tensor([True, False]),
        "turned": draw.T,
        "part": draw[1:3, ::2],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(draw * 2),
    }


def check(weights, expected):
    assert set(weights) == set(expected)
    for name, value in expected.items():
        array, value = weights[name], value.detach()
        assert array.shape == tuple(value.shape), name
        np.testing.assert_array_equal(array.astype(np.float64), value.double().numpy())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "model.pth"])
def test_torch_archives(tmp_path, name):
    torch.save(tensors(), tmp_path / name)
    check(read(tmp_path / name), tensors())


def test_training_state_beside_the_weights(tmp_path):
    content = {
        "state_dict": collections.OrderedDict(tensors()),
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "lr": 1e-4}],
        "hyper_parameters": {"name": "x", "sizes": (1, 2), "flag": None},
    }
    torch.save(content, tmp_path / "a.ckpt")
    check(read(tmp_path / "a.ckpt"), tensors())


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("norm", ["weight_norm", "parametrizations"])
@pytest.mark.filterwarnings("ignore")
def test_weight_norm_is_folded(tmp_path, axis, norm):
    utils = torch.nn.utils
    make = utils.weight_norm if norm == "weight_norm" else utils.parametrizations.weight_norm
    layer = torch.nn.Sequential(make(torch.nn.Conv1d(3, 5, 4), dim=axis), torch.nn.Conv1d(3, 5, 1))
    for parameter in layer.parameters():
        parameter.data.mul_(1.5)
    torch.save(layer.state_dict(), tmp_path / "a.pt")
    folded = fold_weight_norm(read(tmp_path / "a.pt"), "a.pt")
    assert set(folded) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    layer[0](torch.zeros(1, 3, 4))
    assert folded.shape("0.weight") == (5, 3, 4)
    np.testing.assert_allclose(folded["0.weight"], layer[0].weight.detach(), rtol=1e-6)
    np.testing.assert_array_equal(folded["1.weight"], layer[1].weight.detach())


def test_weight_norm_without_its_length(tmp_path):
    for length in ({}, {"a.weight_g": torch.ones(3, 1, 1)}):
        torch.save({"a.weight_v": torch.ones(4, 2, 1)} | length, tmp_path / "a.pt")
        with pytest.raises(InputError, match="a.pt: tensor a.weight_g"):
            fold_weight_norm(read(tmp_path / "a.pt"), "a.pt")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/this-file-must-not-exist",)


class EvilByGetattr:
    def __reduce__(self):
        return getattr, ("text", "upper")


@pytest.mark.parametrize(
    "content, global_name",
    [
        ({"a": Evil()}, "system"),
        ({"a": EvilByGetattr()}, ".getattr"),
        ({"a": torch.nn.Linear(2, 2)}, "torch.nn.modules.linear.Linear"),
        ({"a": np.ones(3)}, "numpy"),
        ({"a": collections.Counter("ab")}, "collections.Counter"),
    ],
)
def test_hostile_pickles_are_refused_by_name(tmp_path, content, global_name):
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(InputError, match="refused, it asks for") as caught:
        read(tmp_path / "a.bin")
    assert global_name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not os.path.exists("/tmp/this-file-must-not-exist")


def test_a_plain_pickle_is_not_opened(tmp_path):
    (tmp_path / "a.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="not a complete torch archive"):
        read(tmp_path / "a.bin")
    assert not os.path.exists("/tmp/this-file-must-not-exist")


@pytest.mark.parametrize("keep", [0, 10, 500, -20, -400])
def test_truncated_archives(tmp_path, keep):
    torch.save(tensors(), tmp_path / "a.bin")
    path = tmp_path / "a.bin"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="not a complete torch archive"):
        read(path)


def rewritten(path, change):
    """The archive with its entries changed by change(name, bytes)."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if (content := change(name, content)) is not None:
                archive.writestr(name, content)


def test_a_storage_shorter_than_its_tensor(tmp_path):
    path = tmp_path / "a.bin"
    torch.save({"a": torch.ones(64)}, path)
    rewritten(path, lambda name, content: content[:32] if "/data/" in name else content)
    with pytest.raises(InputError, match="shorter than its tensor"):
        read(path)["a"]


def test_a_missing_storage(tmp_path):
    path = tmp_path / "a.bin"
    torch.save({"a": torch.ones(64)}, path)
    rewritten(path, lambda name, content: None if "/data/" in name else content)
    with pytest.raises(InputError, match="is damaged"):
        read(path)["a"]


def test_damaged_pickles(tmp_path):
    """Whatever bytes stand there, the answer is one line."""
    path = tmp_path / "a.bin"
    torch.save(tensors(), path)
    rng = np.random.default_rng(0)
    original = path.read_bytes()
    for _ in range(60):
        path.write_bytes(original)
        place = rng.integers(2, 300)

        def damage(name, content, place=place):
            if not name.endswith("data.pkl"):
                return content
            return content[:place] + bytes([rng.integers(256)]) + content[place + 1 :]

        rewritten(path, damage)
        try:
            weights = read(path)
            for name in weights:
                weights[name]
        except InputError as error:
            assert "\n" not in str(error)


def test_other_zip_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(InputError, match="no data.pkl"):
        read(tmp_path / "a.bin")
