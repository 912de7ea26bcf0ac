"""Mapped parameters are the converted ones, and a file that is no help is not one."""

import jax
import numpy as np
import pytest

from audioldm2_jax import files
from audioldm2_jax.checkpoints import prepared
from audioldm2_jax.errors import InputError

PARAMS = {
    "a": {"kernel": np.arange(64.0, dtype=np.float32).reshape(8, 8), "bias": np.ones(3)},
    "b": {"fast": np.ones((4, 5), jax.numpy.bfloat16)},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prepared, "MIN_BYTES", 0)
    return files.cache_folder("weights")


def load(calls, identity=("1",)):
    def make():
        calls.append(1)
        return jax.tree.map(jax.device_put, PARAMS)

    params = prepared.load_or_make("part", list(identity), make)
    expected = jax.tree.map(jax.device_put, PARAMS)
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(expected)):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
    return len(calls)


def test_a_second_load_converts_nothing():
    calls = []
    assert [load(calls), load(calls), load(calls, ["2"]), load(calls)] == [1, 1, 2, 2]


def test_aligned_tensors_are_not_copied(cache):
    load([])
    mapped = np.memmap(next(cache.iterdir()), np.uint8, "c")
    entry = prepared.read_safetensors(next(cache.iterdir()))[0]["a/kernel"]
    placed = prepared._place(mapped, entry)
    assert placed.unsafe_buffer_pointer() == mapped.ctypes.data + entry.offset


@pytest.mark.parametrize("place", [0, 9, -300, -1])
def test_a_changed_byte_is_noticed(cache, place):
    calls = []
    load(calls)
    path = next(cache.iterdir())
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert load(calls) == 2
    assert load(calls) == 2


@pytest.mark.parametrize("content", [b"", b"foreign", None])
def test_a_short_or_foreign_file_is_replaced(cache, content):
    calls = []
    load(calls)
    path = next(cache.iterdir())
    path.write_bytes(path.read_bytes()[:-64] if content is None else content)
    assert [load(calls), load(calls)] == [2, 2]


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "cache").write_text("")
    calls = []
    assert [load(calls), load(calls)] == [1, 2]


def test_a_bound_of_nothing_writes_nothing(cache, monkeypatch):
    monkeypatch.setenv("AUDIOLDM2_JAX_CACHE_GB", "0")
    assert [load([]), cache.exists()] == [1, False]
    monkeypatch.setenv("AUDIOLDM2_JAX_CACHE_GB", "much")
    with pytest.raises(InputError, match="AUDIOLDM2_JAX_CACHE_GB is 'much': set it to a number"):
        load([])
