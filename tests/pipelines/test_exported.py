"""A program from an earlier process's trace is the traced one, or it is traced again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import files
from audioldm2_jax.models.kernels.attention import KeyLengths
from audioldm2_jax.pipelines import exported


@jax.tree_util.register_pytree_node_class
class Own(tuple):
    """A class that no one told JAX how to write."""

    def tree_flatten(self):
        return tuple(self), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(leaves)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(exported, "MIN_BYTES", 0)
    return files.cache_folder("programs")


def program(traces, factor=2.0):
    def run(params, x, index, nothing):
        traces.append(x.shape)
        return {"y": params["w"] * x * factor, "n": (index + 1, nothing, params["unused"])}

    return run


def check(traces, *, size=3, factor=2.0, index=4):
    params = {"w": np.full(size, 3, np.float32), "unused": np.zeros(2, jnp.bfloat16)}
    arguments = params, np.arange(size, dtype=np.float32), index, None
    run = exported.lower(program(traces, factor), "run", f"times {factor}", arguments).compile()
    result = run(*arguments)
    np.testing.assert_array_equal(result["y"], params["w"] * arguments[1] * factor)
    assert int(result["n"][0]) == index + 1 and result["n"][1] is None
    assert result["n"][2].dtype == jnp.bfloat16
    return len(traces)


def test_a_second_process_does_not_trace():
    traces = []
    assert [check(traces), check(traces)] == [1, 1]
    # Another number of the same dtype is the same program.
    assert check(traces, index=7) == 1


def test_what_decides_a_program_is_in_its_key():
    traces = []
    assert [check(traces), check(traces, size=5), check(traces, factor=3.0)] == [1, 2, 3]
    assert check(traces, index=np.int32(4)) == 4
    with jax.default_matmul_precision("highest"):
        assert check(traces) == 5
    assert check(traces) == 5


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_file_is_replaced(cache, place):
    traces = []
    check(traces)
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert [check(traces), check(traces)] == [2, 2]


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"foreign" * 99])
def test_a_short_or_foreign_file_is_replaced(cache, content):
    traces = []
    check(traces)
    (path,) = cache.iterdir()
    path.write_bytes(content)
    assert [check(traces), check(traces)] == [2, 2]


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "cache").write_text("")
    traces = []
    assert [check(traces), check(traces)] == [1, 2]


@pytest.mark.parametrize("kind, stored", [(KeyLengths, 1), (Own, 0)])
def test_results_keep_their_classes_or_are_traced(cache, kind, stored):
    x = np.arange(4, dtype=np.int32)

    def run(x):
        return kind(x + 1) if kind is KeyLengths else Own((x + 1,))

    for _ in range(2):
        result = exported.lower(run, "run", "", (x,)).compile()(x)
        assert isinstance(result, kind)
        np.testing.assert_array_equal(jax.tree.leaves(result)[0], x + 1)
    assert len(list(cache.glob("*"))) == stored


def test_arguments_on_several_devices_are_traced(cache):
    mesh = jax.sharding.Mesh(jax.devices()[:2], "data")
    placed = jax.NamedSharding(mesh, jax.P("data"))
    x = jax.device_put(np.arange(4.0, dtype=np.float32), placed)
    run = exported.lower(lambda x: x + 1, "run", "one more", (x,)).compile()
    np.testing.assert_array_equal(run(x), np.arange(1.0, 5.0))
    assert not cache.exists()


@pytest.mark.parametrize("small", (False, True))
def test_donated_arguments_become_results(cache, monkeypatch, small):
    """Traced here or read from a file, the result takes the argument's memory."""
    monkeypatch.setattr(exported, "MIN_BYTES", 1 << 40 if small else 0)
    x = jnp.ones((64, 64))
    program = exported.lower(lambda y, x: x + y, "run", "donated", (1.0, x), donate=(1,)).compile()
    assert program.memory_analysis().alias_size_in_bytes == x.nbytes
    np.testing.assert_array_equal(program(1.0, x), 2.0)
    assert x.is_deleted()
