"""Removal of repeated tokens with run lengths, and its inverse; static shapes under jit.

AudioLM's language models read semantic tokens without repeats; their run lengths keep the clock.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def deduplicate(ids, lengths=None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The first token of every run of equal ones, and the runs' lengths.

    ids: int [B, T]; lengths: tokens [B] of rows padded to one length, None for all.
    -> (ids [B, T], run lengths [B, T], the number of runs [B]), zeros behind the runs.
    """
    ids = jnp.asarray(ids)
    batch, length = ids.shape
    lengths = jnp.full(batch, length) if lengths is None else jnp.asarray(lengths)
    valid = jnp.arange(length) < lengths[:, None]
    previous = jnp.concatenate([ids[:, :1], ids[:, :-1]], 1)
    first = valid & ((ids != previous) | (jnp.arange(length) == 0))
    slots = jnp.cumsum(first, 1) - 1
    rows = jnp.arange(batch)[:, None]
    # A slot beyond the row drops the value.
    values = jnp.zeros_like(ids).at[rows, jnp.where(first, slots, length)].set(ids, mode="drop")
    runs = jnp.zeros((batch, length), jnp.int32)
    runs = runs.at[rows, jnp.where(valid, slots, length)].add(1, mode="drop")
    return values, runs, first.sum(1)


def repeat(ids, run_lengths, length: int) -> jax.Array:
    """The inverse of `deduplicate`: each token as often as its run is long, then zeros.

    ids, run_lengths: [B, T] -> [B, length].
    """
    ids, run_lengths = jnp.asarray(ids), jnp.asarray(run_lengths)
    values = jax.vmap(lambda i, n: jnp.repeat(i, n, total_repeat_length=length))(ids, run_lengths)
    return jnp.where(jnp.arange(length) < run_lengths.sum(1)[:, None], values, 0)
