"""The U-Net's blocks as a GPU computes them, against the CPU's way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.kernels.stored import arrange_for_gpu
from audioldm2_jax.models.layers import ResBlock
from audioldm2_jax.models.unet import Transformer


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


BLOCKS = {
    "residual": (ResBlock(16, 16, 4, 1e-5), draw(2, 16, seed=1)),
    "transformer": (Transformer(2, 16, 1, 4), None),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_gpus_compute_the_same(name):
    """Values and gradients: statistics with the time bias, products kept apart; then the same
    values of parameters arranged for a GPU."""
    (block, time), x = BLOCKS[name], draw(2, 6, 4, 16)
    params = jax.jit(block.init)(jax.random.key(0), x, time)

    def total(params, x, time):
        y = block.apply(params, x, time)
        return jnp.square(y).sum(), y

    both = []
    for platform in ("cpu", "gpu"):
        with backend.targeting(platform):
            both.append(jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(params, x, time))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4), *both)
    arranged = {"params": arrange_for_gpu(params["params"])}
    with backend.targeting("gpu"):
        again = jax.jit(block.apply)(arranged, x, time)
    np.testing.assert_allclose(again, both[0][0][1], 1e-4, 1e-4)
