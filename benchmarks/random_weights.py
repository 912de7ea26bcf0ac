"""Random weights that are drawn on the device: no files, and nothing large goes over the bus."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.init import scaled


def drawn(shapes: dict, dtype=None) -> dict:
    """A tree of parameters of these shapes, scaled as those of `random_params`.

    dtype: None is each shape's own. A program for each shape, since one for all of a network's
    would compile for minutes.
    """
    flat = tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(0, impl="rbg"), len(flat))
    pairs = zip(keys, flat.items())
    return tree.unflatten({p: _draw(k, _kind(p), s.shape, dtype or s.dtype) for k, (p, s) in pairs})


def _kind(path: str) -> str:
    """The shortest path whose values `scaled` makes alike."""
    marks = [mark for mark in ("norm_mel", "upsample_") if mark in path]
    return "/".join([*marks, path.rsplit("/", 1)[-1]])


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _draw(key, path: str, shape: tuple[int, ...], dtype) -> jax.Array:
    return jnp.asarray(scaled(path, jax.random.normal(key, shape, dtype)), dtype)
