"""Mapped parameters are the converted ones, and a file that is no help is not one."""

from pathlib import Path

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


def resident(folder):
    """Bytes of the files below a folder that are in this process's memory."""
    lines, total = Path("/proc/self/smaps").read_text().splitlines(), 0
    for i, line in enumerate(lines):
        if str(folder) in line:
            total += next(int(x.split()[1]) << 10 for x in lines[i:] if x.startswith("Rss:"))
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux alone tells it")
def test_released_pages_leave_memory_and_come_back(cache):
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal((1 << 9, 1 << 10)).astype(np.float32) for name in "ab"}
    size = values["a"].nbytes

    def part(name):
        kernel = jax.device_put(values[name])
        return prepared.load_or_make(name, [], lambda: {"x": {"kernel": kernel}})

    mapped = {name: part(name) for name in "ab"}
    own = jax.device_put(values["a"])
    total = float(sum(part["x"]["kernel"].sum() for part in mapped.values()))
    assert resident(cache) >= 2 * size
    prepared.release({"a": mapped["a"], "own": own})
    assert size <= resident(cache) < 2 * size, "of one part, and not of the other"
    prepared.release(mapped)
    assert resident(cache) < size / 10
    for name, part in mapped.items():
        np.testing.assert_array_equal(part["x"]["kernel"], values[name])
    np.testing.assert_array_equal(own, values["a"])
    assert total == pytest.approx(float(sum(x.sum() for x in values.values())), rel=1e-3, abs=1)


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
