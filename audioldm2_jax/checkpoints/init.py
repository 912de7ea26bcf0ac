"""Random initial parameters of any part, scaled so that activations stay near unit variance."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.parts import PARTS


def random_params(name: str, config, seed: int = 0) -> dict:
    """A part's parameters: layers of unit variance, norms near one, small biases.

    name: of the part; config: its configuration. The same seed gives the same values.
    """
    rng = np.random.default_rng([seed, *name.encode()])

    def draw(path, shape):
        kind, values = path.rsplit("/", 1)[-1], rng.standard_normal(shape, np.float32)
        if kind == "scale":
            return 1 + 0.1 * values
        if kind == "variance":
            # The mel's is in dB.
            return (100 if "norm_mel" in path else 1) * (1 + 0.1 * np.abs(values))
        if kind == "kernel" and "upsample_" in path and len(shape) == 3:
            # A transposed convolution's outputs each see about two of its taps.
            return values * (2 * shape[1]) ** -0.5
        if kind == "kernel":
            return values * np.prod(shape[:-1]) ** -0.5
        if kind.startswith("distance_"):
            return values * shape[-1] ** -0.5
        if kind.endswith("logit_scale"):
            return np.float32(np.log(1 / 0.07))
        return values if len(shape) > 1 else 0.1 * values

    shapes = tree.flatten(PARTS[name].shapes(config))
    return tree.unflatten({p: jnp.asarray(draw(p, s.shape)) for p, s in shapes.items()})
