"""Guidance: its formula, scales by clip and by evaluation, and no traffic between devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from audioldm2_jax.diffusion.guidance import cfg_denoise, interleave

B = 8
X = np.random.default_rng(0).standard_normal((B, 3, 2, 4)).astype(np.float32)
UNCOND, COND = np.random.default_rng(1).standard_normal((2, B)).astype(np.float32)


def denoise(x, index):
    """Depends on the row's condition, as a network does."""
    rows = interleave(jnp.asarray(UNCOND), jnp.asarray(COND))
    return jnp.sin(x + rows[:, None, None, None] * (1 + index))


def expected(scale, index=0):
    """Each half by itself."""
    uncond, cond = (np.sin(X + c[:, None, None, None] * (1 + index)) for c in (UNCOND, COND))
    return uncond + np.reshape(scale, (-1, 1, 1, 1)) * (cond - uncond)


@pytest.mark.parametrize("scale", [3.5, np.linspace(0, 5, B)], ids=["one scale", "by clip"])
def test_guidance_s_formula(scale):
    result = cfg_denoise(denoise, scale)(X, 0)
    np.testing.assert_allclose(result, expected(scale), atol=1e-5)


def test_scales_by_evaluation():
    """A guidance interval: outside of it the prediction is the conditional one."""
    scales = np.ones((4, B), np.float32)
    scales[1:3] = np.linspace(0, 5, B)
    guided = jax.jit(cfg_denoise(denoise, scales))
    for index in range(4):
        np.testing.assert_allclose(guided(X, index), expected(scales[index], index), atol=1e-5)
    alike = cfg_denoise(denoise, scales[:, :1])(X, 2)
    np.testing.assert_allclose(alike, expected(scales[2, 0], 2), atol=1e-5)


def test_a_clip_s_pair_stays_on_its_device():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    run = jax.jit(
        lambda x, scale: cfg_denoise(lambda x, index: jnp.tanh(x), scale)(x, 0),
        in_shardings=split,
        out_shardings=split,
    )
    text = run.lower(X, np.ones(B, np.float32)).compile().as_text()
    moves = ("all-gather", "all-to-all", "all-reduce", "collective-permute")
    assert not any(move in text for move in moves)
