"""Rearranged parameters hold the same numbers and serve the same modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.kernels.prepacked import prepack_kernels
from audioldm2_jax.models.kernels.stored import turn, turn_back
from audioldm2_jax.models.layers import Conv, ConvTranspose, Upsample

x1, x2 = jnp.ones((1, 9, 4)), jnp.ones((1, 6, 5, 4))
LAYERS = {
    "conv_in": (Conv(3, (3,)), (x1,)),
    "downsample": (Conv(3, strides=(2, 2), padding=((1, 1), (1, 1))), (x2,)),
    "upsample": (Upsample(3), (x2, (12, 10))),
    "upsample_0": (ConvTranspose(3, 4, 2, 1), (x1,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_read_what_is_stored(name):
    layer, arguments = LAYERS[name]
    params = layer.init(jax.random.key(0), *arguments)
    with backend.targeting("gpu"):
        stored = prepack_kernels({name: params["params"]})[name]
        ours = layer.apply({"params": stored}, *arguments)
        twice = prepack_kernels({name: stored})[name]
    expected = layer.apply(params, *arguments)
    assert ("kernel" in stored) == (name == "upsample_0") and set(twice) == set(stored)
    np.testing.assert_allclose(ours, expected, 1e-5, 1e-5)


def test_turning_back():
    kernel = jnp.arange(24.0).reshape(1, 2, 3, 4)
    assert turn(kernel).shape == (4, 1, 2, 3)
    np.testing.assert_array_equal(turn_back(turn(kernel)), kernel)
