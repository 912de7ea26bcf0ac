"""Decoding token by token: a prefill, then one loop on the device over a static cache.

`roll_out` knows neither the model nor the layout of the tokens: `step` runs the model for the
tokens of one step, `choose` takes the next ones from logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Programs are compiled for lengths of so many slots, and multiples.
SHORTEST = 64


def bucket(length: int) -> int:
    """The length that a program is compiled for, at most a quarter longer (or `SHORTEST`)."""
    unit = max(SHORTEST, 1 << max(0, (length - 1).bit_length() - 3))
    return max(unit, -(-length // unit) * unit)


def align_right(tokens, lengths, slots: int, pad: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows that end at one slot, as `models.decoder` reads them, on the host.

    tokens: [B, L, ...], of which the first lengths[b] of each row count -> (tokens [B, slots, ...]
    with `pad` before each row's first, starts [B] int32).
    """
    tokens, lengths = np.asarray(tokens), np.asarray(lengths)
    assert lengths.max(initial=0) <= min(slots, tokens.shape[1]), (lengths, slots, tokens.shape)
    out = np.full((len(tokens), slots, *tokens.shape[2:]), pad, np.int32)
    for row, length in enumerate(lengths):
        out[row, slots - length :] = tokens[row, :length]
    return out, (slots - lengths).astype(np.int32)


def roll_out(
    logits,
    state: Any,
    step: Callable,
    choose: Callable,
    steps: int,
    *,
    done: Callable | None = None,
) -> jax.Array:
    """Tokens [B, steps, ...] of a loop of `steps`, of which the first has `logits`.

    step(tokens, state, index) -> (logits, state) runs the model for the tokens of step `index`.
    choose(logits, index) -> tokens [B, ...] int32. done(tokens) -> bool [B]: rows that end with
    these tokens; the loop ends with the last of them, and what follows a row's end is its last
    token. The state (with the cache) is updated in place.
    """
    if done is None:

        def advance(carry, index):
            tokens = choose(carry[0], index)
            return step(tokens, carry[1], index), tokens

        # The last tokens need no step of the model.
        (logits, _), tokens = jax.lax.scan(advance, (logits, state), jnp.arange(steps - 1))
        last = choose(logits, jnp.int32(steps - 1))
        return jnp.moveaxis(jnp.concatenate([tokens, last[None]]), 0, 1)
    return _roll_out_until(logits, state, step, choose, steps, done)


def _roll_out_until(logits, state, step, choose, steps, done):
    shape = jax.eval_shape(choose, logits, jnp.int32(0)).shape
    start = (
        jnp.int32(0),
        logits,
        state,
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape[:1], bool),
        jnp.zeros((steps, *shape), jnp.int32),
    )

    def running(carry):
        return (carry[0] < steps) & ~carry[4].all()

    def advance(carry):
        index, logits, state, previous, ended, out = carry
        keep = ended.reshape(-1, *(1,) * (previous.ndim - 1))
        tokens = jnp.where(keep, previous, choose(logits, index))
        logits, state = step(tokens, state, index)
        out = jax.lax.dynamic_update_index_in_dim(out, tokens, index, 0)
        return index + 1, logits, state, tokens, ended | done(tokens), out

    index, _, _, last, _, out = jax.lax.while_loop(running, advance, start)
    after = jnp.arange(steps).reshape(-1, *(1,) * last.ndim) >= index
    return jnp.moveaxis(jnp.where(after, last[None], out), 0, 1)
