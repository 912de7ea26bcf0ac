"""Names, options without effect, and what a newcomer sees of the package in Python."""

import inspect
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import audioldm2_jax
from audioldm2_jax import InputError, Pipeline
from audioldm2_jax.checkpoints import download, hub, prepared, registry
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.pipelines.loading import open_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loading") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.mark.parametrize(
    "change, message",
    [
        ({"revision": "main"}, "revision main: .* is on this machine"),
        ({"tokenizers": "."}, "tokenizers .: are for an authors' file"),
        ({"lora_strength": 0.5}, "lora_strength: there is no lora"),
        ({"lora_strength": float("nan"), "lora": "x"}, "lora_strength is nan"),
        ({"lora_strength": "1", "lora": "x"}, "lora_strength is 1"),
        ({"lora": "nofile"}, "nofile"),
        ({"lora_strength": True, "lora": "x"}, "lora_strength is True"),
        ({"lora_strength": 10**400, "lora": "x"}, "lora_strength is 1"),
        ({"dtype": "fp64"}, "unknown dtype"),
        ({"dtype": ["x"]}, "dtype is "),
        ({"dtype": object()}, "dtype "),
        ({"convention": "mine"}, "mine"),
    ],
)
def test_options_without_effect_are_refused(folder, monkeypatch, change, message):
    """Before any weights are read."""
    monkeypatch.setattr(hub, "load", None)
    for model in (folder, "nano"):
        with pytest.raises(InputError, match=message) as caught:
            Pipeline.from_pretrained(model, progress=False, **change)
        assert "\n" not in str(caught.value)


def test_official_names_work_in_python(monkeypatch, folder):
    calls = []

    def locate(name, *, revision=None, quiet=False, variant=None):
        calls.append((name, revision))
        return folder

    monkeypatch.setattr(download, "locate", locate)
    for name, hub_id in registry.OFFICIAL_NAMES.items():
        pipe = Pipeline.from_pretrained(name, revision="main", progress=False)
        assert calls[-1] == (hub_id, "main") and pipe.source == hub_id
        break
    assert registry.resolve("somebody/else") == "somebody/else"


def test_repr_says_what_it_is(folder):
    text = repr(Pipeline.from_pretrained(folder, progress=False))
    for part in (str(folder), "audioldm2", "M parameters", "16000 Hz", "float32", "authors"):
        assert part in text
    assert "\n" not in text


def test_the_package_shows_its_names():
    assert {"Pipeline", "InputError", "__version__"} <= set(dir(audioldm2_jax))
    assert audioldm2_jax.Pipeline is Pipeline and issubclass(audioldm2_jax.InputError, ValueError)
    with pytest.raises(AttributeError):
        _ = audioldm2_jax.Pipelines


def test_public_parameters_are_typed():
    for method in (Pipeline.from_pretrained, Pipeline.__call__):
        for name, parameter in inspect.signature(method).parameters.items():
            assert name == "self" or parameter.annotation is not inspect.Parameter.empty, name


def test_transformers_does_not_greet():
    """Without torch it says so at its first import; the user's environment stays as it was."""
    code = (
        "import importlib.util as u, os; find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'torch' else find(n, *a)\n"
        "from audioldm2_jax.pipelines import loading; loading._import_transformers()\n"
        "import transformers; assert not transformers.is_torch_available()\n"
        "assert 'TRANSFORMERS_NO_ADVISORY_WARNINGS' not in os.environ\n"
    )
    # The command, which an earlier test may have run in this process, sets some for good.
    env = {name: value for name, value in os.environ.items() if "TRANSFORMERS" not in name}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "PyTorch" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["~nouser/x", "~nouser/x.pth", "\0"])
def test_a_path_that_cannot_be_expanded_is_one_line(name):
    with pytest.raises(InputError, match="no path") as caught:
        Pipeline.from_pretrained(name, progress=False)
    assert "\n" not in str(caught.value)


def test_mapped_parameters_are_the_converted_ones(folder, tmp_path, monkeypatch):
    """And a file of the checkpoint that was replaced is read again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prepared, "MIN_BYTES", 0)
    shutil.copytree(folder, tmp_path / "tiny")

    def params():
        return Pipeline.from_pretrained(tmp_path / "tiny", dtype="fp32", progress=False).params

    with monkeypatch.context() as patch:
        patch.setenv("AUDIOLDM2_JAX_CACHE_GB", "0")
        converted = params()
    params()
    with monkeypatch.context() as patch:
        patch.setattr(hub, "load_part", None)
        jax.tree.map(np.testing.assert_array_equal, converted, params())
    path = tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a complete safetensors file"):
        params()


def test_a_model_of_another_family_is_one_line(folder):
    with pytest.raises(InputError, match="of the family audioldm2; audiolm can run here"):
        open_checkpoint(folder, families=("audiolm",))
    assert open_checkpoint(folder, families=("audiolm", "audioldm2")).config.family == "audioldm2"
