"""Random values for networks and losses."""

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def randomised(params, seed=0):
    """Parameters none of which is zero or one."""
    flat = tree.flatten(params)
    return tree.unflatten(
        {
            path: jnp.asarray(
                (1.0 + 0.1 * draw(*x.shape, seed=i))
                if path.endswith(("scale", "variance"))
                else 0.3 * draw(*x.shape, seed=i)
            )
            for i, (path, x) in enumerate(sorted(flat.items()))
        }
    )
