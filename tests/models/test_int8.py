"""Eight bits: the error of a weight, layers against their restored weights, and whole encoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.encoders.clap import clap_text_features
from audioldm2_jax.encoders.text import t5_states
from audioldm2_jax.models import int8
from audioldm2_jax.models.dense import Dense, Embed
from audioldm2_jax.presets import PRESETS

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(3, 60, (2, 9))
MASK = np.ones((2, 9), bool)


def restored(matrix, axis):
    q = int8.quantize(matrix, axis=axis)
    return np.asarray(q["int8"], np.float32) * np.expand_dims(q["scale"], axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_is_half_a_step_from_its_own(axis):
    matrix = RNG.standard_normal((40, 30)).astype(np.float32)
    matrix[:, 3], matrix[5] = 0, 0
    step = np.abs(matrix).max(axis, keepdims=True) / 127
    error = np.abs(restored(matrix, axis) - matrix)
    assert (error <= step / 2 * 1.001).all() and error.max() > 0.3 * step.max()
    assert not restored(matrix, axis)[5].any()


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_layers_compute_with_the_restored_weights(dtype, tolerance):
    x, kernel = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 9, 40), (40, 30)))
    bias = RNG.standard_normal(30).astype(np.float32)
    expected = x @ restored(kernel, 0) + bias
    params = {"kernel": int8.quantize(kernel, axis=0), "bias": bias}
    y = Dense(30, dtype=dtype).apply({"params": params}, x)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.float32(y), expected, atol=tolerance * np.abs(expected).max())
    params = {"embedding": int8.quantize(kernel, axis=1)}
    rows = Embed(40, 30, dtype=dtype).apply({"params": params}, TOKENS % 40)
    assert rows.dtype == dtype
    np.testing.assert_allclose(np.float32(rows), restored(kernel, 1)[TOKENS % 40], atol=tolerance)


def test_encoders_agree_to_three_hundredths():
    """Of the features' deviation; their matrices take a quarter of fp32's bytes."""
    config = PRESETS["tiny"]()
    for name, encode in (("clap", clap_text_features), ("t5", t5_states)):
        part = getattr(config, name)
        params = random_params(name, part)
        plain = encode(params, TOKENS, MASK, part)
        size = sum(x.nbytes for x in jax.tree.leaves(params))
        int8.quantize_in_place(params)
        error = np.asarray(encode(params, TOKENS, MASK, part) - plain)
        assert 1e-5 < error.std() < 0.03 * np.asarray(plain).std(), name
        assert sum(x.nbytes for x in jax.tree.leaves(params)) < 0.5 * size
