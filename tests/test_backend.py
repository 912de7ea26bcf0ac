"""The backend is a value that one file asks for; a target is part of every trace's key."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from audioldm2_jax import backend
from audioldm2_jax.backend import Backend
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.errors import InputError

ROOT = Path(__file__).parent.parent


@jax.jit
def traced(x):
    """Its value tells for which platform it was traced."""
    return x + backend.PLATFORMS.index(backend.current().platform)


def test_a_trace_belongs_to_its_target():
    """The same jitted function at the same shapes: no target gets the program of another."""
    here, x = traced(0), 0
    for platform in (*backend.PLATFORMS, *reversed(backend.PLATFORMS)):
        with backend.targeting(platform):
            assert traced(x) == backend.PLATFORMS.index(platform)
    assert traced(x) == here


def test_targets_nest_and_end():
    before = backend.current()
    with backend.targeting("tpu"):
        with backend.targeting("gpu"):
            assert backend.current() == Backend("gpu")
        assert backend.current() == Backend("tpu")
        with pytest.raises(RuntimeError), backend.targeting("cpu"):
            raise RuntimeError
        assert backend.current() == Backend("tpu")
    assert backend.current() == before


def test_unknown_targets_are_refused():
    with pytest.raises(ValueError, match="'abacus': choose one of cpu gpu tpu"):
        with backend.targeting("abacus"):
            pass


def test_the_default_device_decides():
    with jax.default_device(jax.devices("cpu")[0]):
        assert backend.current() == Backend("cpu")


@pytest.mark.parametrize(
    "plugin, capability, expected",
    [
        ("jax_cuda12_plugin", "8.0", True),
        ("jax_cuda13_plugin", None, True),
        ("jax_cuda13_plugin", "7.5", False),
        ("jax_rocm7_plugin", "gfx942", False),
    ],
)
def test_cudnn_needs_cuda_and_ampere(monkeypatch, plugin, capability, expected):
    device = SimpleNamespace(**{"compute_capability": capability} if capability else {})
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: name == plugin or None)
    monkeypatch.setattr(backend.jax, "devices", lambda: [device])
    assert Backend("gpu").cudnn == expected
    assert not Backend("cpu").cudnn and not Backend("tpu").cudnn


def test_dtypes_follow_the_target():
    with backend.targeting("tpu"):
        assert parse_dtype(None) == jnp.bfloat16
        assert not backend.current().prepacks(jnp.float32)
    with backend.targeting("gpu"):
        assert backend.current().prepacks(jnp.bfloat16)
    with backend.targeting("cpu"):
        assert parse_dtype(None) == jnp.float32
        assert backend.current().prepacks(jnp.float32)
        assert not backend.current().prepacks(jnp.bfloat16)


@pytest.mark.parametrize("name", ["fp64", "int8", jnp.float16, jnp.int32, object(), 3])
def test_other_dtypes_are_refused(name):
    with pytest.raises(InputError, match="dtype"):
        parse_dtype(name)


def test_nothing_else_asks_for_the_backend():
    folders = ("audioldm2_jax", "benchmarks", "configs", "data")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    for file in files:
        text = file.read_text()
        assert file.name == "backend.py" or "default_backend" not in text, file
        assert not re.search(r"^\s*(import|from) unittest", text, re.MULTILINE), file
