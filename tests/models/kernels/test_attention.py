"""The accelerators' attention and the CPU's ways compute the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.kernels import attention
from audioldm2_jax.models.kernels.attention import KeyLengths, Prefix, cudnn_attend, keep_mask
from audioldm2_jax.models.kernels.dispatch import attend


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def qkv(length, keys):
    return draw(2, length, 3, 8), draw(2, keys, 3, 8, seed=1), draw(2, keys, 3, 8, seed=2)


def causal(length, keys):
    """A mask of GPT-2's shape with padding."""
    mask = jnp.arange(keys) <= jnp.arange(length)[:, None] + 2
    return mask[None, None] & keep_mask(jnp.array([[1] * keys, [1, 0] + [1] * (keys - 2)]))


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-2)])
@pytest.mark.parametrize("case", ["plain", "mask", "bias", "causal", "unscaled"])
def test_backends_agree(case, dtype, tolerance):
    length, keys = 7, 11
    arguments = [x.astype(dtype) for x in qkv(length, keys)]
    options = {
        "plain": {},
        "mask": {"mask": keep_mask(jnp.arange(keys) < jnp.array([[4], [9]]))},
        "bias": {"bias": draw(1, 3, length, keys, seed=3)},
        "causal": {"mask": causal(length, keys)},
        "unscaled": {"scale": 1.0, "bias": draw(1, 3, length, keys, seed=3)},
    }[case]
    ours = attend(*arguments, **options)
    with backend.targeting("gpu"):
        theirs = attend(*arguments, **options)
    assert ours.dtype == theirs.dtype == dtype
    np.testing.assert_allclose(ours.astype(jnp.float32), theirs.astype(jnp.float32), atol=tolerance)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_first_keys(platform):
    """One of a few lengths, chosen in the program: values and gradients are those of a mask."""
    arguments, lengths = qkv(7, 11), (3, 11, 1)

    def values_and_grads(mask):
        def total(*qkv):
            return jnp.square(attend(*qkv, mask=mask)).sum()

        return jax.value_and_grad(total, (0, 1, 2))(*arguments)

    for which, length in enumerate(lengths):
        with backend.targeting(platform):
            first = jax.jit(lambda which: values_and_grads(Prefix(lengths, which)))(which)
        masked = values_and_grads(keep_mask(jnp.arange(11)[None] < length))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), first, masked)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_lengths_by_clip(platform):
    arguments, lengths = qkv(7, 11), jnp.array([4, 11])
    with backend.targeting(platform):
        ours = attend(*arguments, mask=KeyLengths(lengths))
    expected = attend(*arguments, mask=keep_mask(jnp.arange(11) < lengths[:, None]))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.fixture
def fused(monkeypatch):
    """cuDNN's arguments go to XLA's attention; the list grows by one with each such call."""
    calls, plain = [], jax.nn.dot_product_attention

    def attention(*arguments, implementation=None, **options):
        calls.extend([implementation] if implementation else [])
        return plain(*arguments, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    return calls


LENGTHS = KeyLengths(jnp.array([4, 11], jnp.int32))
PADDED = keep_mask(jnp.arange(12) < LENGTHS.lengths[:, None])
FIRST = Prefix((3, 9), jnp.array(1))


@pytest.mark.parametrize("mask, same", [(None, None), (LENGTHS, PADDED), (FIRST, FIRST)])
def test_what_cudnn_takes(fused, mask, same):
    """Also the masks that are lengths."""
    arguments = [x.astype(jnp.bfloat16) for x in qkv(8, 12)]
    ours = cudnn_attend(*arguments, mask=mask, scale=0.3)
    expected = attend(*arguments, mask=same, scale=0.3)
    assert fused == ["cudnn"]
    np.testing.assert_allclose(ours.astype(jnp.float32), expected.astype(jnp.float32), atol=3e-2)


@pytest.mark.parametrize(
    "case", ["fp32", "wide", "odd", "mask", "bias", "one query", "odd queries", "odd keys"]
)
def test_what_cudnn_refuses(fused, case):
    """JAX refuses gradients for odd lengths."""
    length = {"one query": 1, "odd queries": 7}.get(case, 8)
    keys, width = 11 if case == "odd keys" else 12, {"wide": 136, "odd": 9}.get(case, 8)
    dtype = jnp.float32 if case == "fp32" else jnp.bfloat16
    arguments = [draw(2, n, 3, width).astype(dtype) for n in (length, keys, keys)]
    mask = PADDED if case == "mask" else LENGTHS
    bias = draw(1, 3, length, keys, seed=3) if case == "bias" else None
    ours = cudnn_attend(*arguments, mask=mask, bias=bias, scale=0.3)
    expected = attend(*arguments, mask=mask, bias=bias, scale=0.3)
    assert not fused
    np.testing.assert_allclose(ours.astype(jnp.float32), expected.astype(jnp.float32), atol=3e-2)


@pytest.mark.parametrize("queries", [16, 40, 64])
def test_long_sequences_head_by_head(monkeypatch, queries):
    """Also in blocks of queries that do not divide the length; values and gradients."""
    arguments, slope = qkv(40, 33), draw(2, 40, 3, 8, seed=3)

    def values_and_grads():
        value, back = jax.vjp(jax.jit(attend), *arguments)
        return value, *back(slope)

    expected = values_and_grads()
    monkeypatch.setattr(attention, "_MAP_SCORES", 1)
    monkeypatch.setattr(attention, "_QUERIES", queries)
    for ours, theirs in zip(values_and_grads(), expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("keys, longest", [(64, 20), (192, 64), (192, 65), (192, 192)])
def test_the_cpu_reads_the_chunks_that_are_kept(keys, longest):
    rng, lengths = np.random.default_rng(0), jnp.array([1, longest, longest // 2])
    query, key, value = (
        rng.standard_normal((3, n, 2, 8)).astype(np.float32) for n in (5, keys, keys)
    )
    key = 4 * key  # scores far apart
    masked = attend(query, key, value, mask=keep_mask(jnp.arange(keys) < lengths[:, None]))
    key[:, -(-longest // 64) * 64 :] = np.nan
    ours = attend(query, key, value, mask=KeyLengths(lengths))
    np.testing.assert_allclose(ours, masked, atol=1e-5)
