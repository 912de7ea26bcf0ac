"""Random parameters of a stage's parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax

from audioldm2_jax.checkpoints.parts import PARTS


def init_part(name: str, config) -> Callable:
    """key -> random parameters of a checkpoint's part."""
    part = PARTS[name]

    def init(key):
        return part.model(config).init(key, *part.inputs(config))["params"]

    return init


def init_parts(inits: Mapping[str, Callable]) -> Callable:
    """(key, parts to leave out) -> parameters by part.

    Compiled functions are traced once for all that ask for shapes.
    """

    @functools.partial(jax.jit, static_argnums=1)
    def init(key, without=()):
        keys = jax.random.split(key, len(inits))
        pairs = zip(inits.items(), keys)
        return {name: make(k) for (name, make), k in pairs if name not in without}

    return init
