"""Draws of tokens: transformers' filters, shares of a distribution, rows on their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from audioldm2_jax.decoding.sampling import clip_keys, draw, filtered, sampling, step_keys
from audioldm2_jax.errors import InputError

LOGITS = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32) * 3


def test_filters_are_transformers_own():
    """Each row has its own values, one of them none."""
    temperature, top_k, top_p = (0.6, 1.3, 1.0, 2.0), (0, 7, 30, 0), (1.0, 1.0, 0.8, 0.5)
    settings = sampling(4, temperature=temperature, top_k=top_k, top_p=top_p)
    ours = np.asarray(jax.jit(filtered)(LOGITS, settings))
    for row in range(4):
        theirs = TemperatureLogitsWarper(temperature[row])(
            None, torch.tensor(LOGITS[row : row + 1])
        )
        if top_k[row]:
            theirs = TopKLogitsWarper(top_k[row])(None, theirs)
        if top_p[row] < 1:
            theirs = TopPLogitsWarper(top_p[row])(None, theirs)
        np.testing.assert_allclose(ours[row], theirs[0], rtol=1e-6)
        assert (top_k[row] == 0 and top_p[row] == 1) or np.isinf(ours[row]).any()


def test_shares_are_those_of_the_softmax():
    count = 4096
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.5, 0.3, 0.2, 0.0])), (count, 4))
    tokens = draw(logits, clip_keys(jax.random.key(0), count), sampling(count))
    shares = np.bincount(tokens, minlength=4) / count
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2, 0], atol=4 * 0.5 / count**0.5)
    assert shares[3] == 0


def test_a_clip_draws_by_its_own_key():
    """The same tokens alone, in a batch, at another place of it, beside other settings."""
    keys = clip_keys(jax.random.key(3), 4)
    one = sampling(1, temperature=1.5, top_k=9)
    mixed = sampling(4, temperature=(0.5, 1, 1.5, 2), top_k=(0, 0, 9, 3), top_p=(1, 0.9, 1, 1))
    run, tokens, alone = jax.jit(draw), [], []
    for index in range(12):
        step = step_keys(keys, index)
        tokens.append(run(LOGITS, step, mixed)[2])
        alone.append(run(LOGITS[2:3], step[2:3], one)[0])
    assert [int(x) for x in tokens] == [int(x) for x in alone]
    assert len({int(x) for x in tokens}) > 3


def test_temperature_zero_is_the_most_likely():
    levels = LOGITS.reshape(2, 2, 50)
    tokens = draw(levels, clip_keys(jax.random.key(0), 2), sampling(2, temperature=0, top_k=5))
    np.testing.assert_array_equal(tokens, levels.argmax(-1))


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -2},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.2},
        {"temperature": (1, 2, 3)},
    ],
)
def test_bad_values_are_named(values):
    with pytest.raises(InputError, match=rf"{next(iter(values))} .*(it must be|for 2 clips)"):
        sampling(2, **values)
