"""The CPU's way through a matrix product and its gradients against the library's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.dense import Dense


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-2)])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_backends_agree(shape, dtype, tolerance):
    x = jax.random.normal(jax.random.key(0), shape)
    layer = Dense(7, dtype=dtype)
    params = layer.init(jax.random.key(1), x)

    def values_and_grads(params, x):
        def total(params, x):
            y = layer.apply(params, x)
            assert y.dtype == dtype
            return jnp.square(y.astype(jnp.float32)).sum(), y

        return jax.value_and_grad(total, (0, 1), has_aux=True)(params, x)

    ours = values_and_grads(params, x)
    with backend.targeting("gpu"):
        theirs = values_and_grads(params, x)

    def compare(a, b):
        a, b = (np.asarray(v, np.float32) for v in (a, b))
        np.testing.assert_allclose(a, b, tolerance, tolerance * np.abs(b).max())

    jax.tree.map(compare, ours, theirs)
