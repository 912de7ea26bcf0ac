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
    shapes = tree.flatten(PARTS[name].shapes(config))
    draws = {p: scaled(p, rng.standard_normal(s.shape, np.float32)) for p, s in shapes.items()}
    return tree.unflatten({path: jnp.asarray(values) for path, values in draws.items()})


def scaled(path: str, values):
    """Values of a parameter from unit normal draws of its shape, NumPy's or JAX's."""
    kind, shape = path.rsplit("/", 1)[-1], values.shape
    if kind in ("scale", "alpha"):
        return 1 + 0.1 * values
    if kind == "variance":
        # The mel's is in dB.
        return (100 if "norm_mel" in path else 1) * (1 + 0.1 * abs(values))
    if kind == "kernel" and "upsample_" in path and len(shape) == 3:
        # A transposed convolution's outputs each see about two of its taps.
        return values * (2 * shape[1]) ** -0.5
    if kind == "head" or kind.endswith("kernel"):
        return values * np.prod(shape[:-1]) ** -0.5
    if kind.startswith("distance_"):
        return values * shape[-1] ** -0.5
    if kind.endswith("logit_scale"):
        return np.float32(np.log(1 / 0.07))
    return values if len(shape) > 1 else 0.1 * values
