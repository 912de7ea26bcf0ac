"""Decoding token by token: a prefill, then one loop on the device over a static cache.

`roll_out` knows neither the model nor the layout of the tokens: `step` runs the model for the
tokens of one step, `choose` takes the next ones from its outputs.
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
    outputs,
    state: Any,
    step: Callable,
    choose: Callable,
    steps: int,
    *,
    count=None,
    done: Callable | None = None,
) -> tuple[jax.Array, Any, jax.Array]:
    """(tokens [B, steps, ...] of a loop, the state, the last tokens [B, ...]).

    The first tokens are chosen from `outputs`; the state does not know the last ones yet.
    step(tokens, state, index) -> (outputs, state) runs the model for the tokens of step `index`;
    outputs are logits, or what `choose` makes them of. choose(outputs, index) -> tokens [B, ...]
    int32. count: how many of the steps are taken, traced; None for all. done(tokens) -> bool [B]:
    rows that end with these tokens; the loop ends with the last of them. What follows a row's end,
    or the last step, is its last token.
    """
    first = choose(outputs, jnp.int32(0))
    count = jnp.int32(steps) if count is None else jnp.minimum(count, steps)
    ended = jnp.zeros(first.shape[:1], bool) if done is None else done(first)
    out = jnp.zeros((steps, *first.shape), first.dtype).at[0].set(first)

    def running(carry):
        index, _, _, ended, _ = carry
        return (index < count) & ~ended.all()

    def advance(carry):
        index, state, previous, ended, out = carry
        outputs, state = step(previous, state, index - 1)
        keep = ended.reshape(-1, *(1,) * (previous.ndim - 1))
        tokens = jnp.where(keep, previous, choose(outputs, index))
        out = jax.lax.dynamic_update_index_in_dim(out, tokens, index, 0)
        ended = ended if done is None else ended | done(tokens)
        return index + 1, state, tokens, ended, out

    start = jnp.int32(1), state, first, ended, out
    index, state, last, _, out = jax.lax.while_loop(running, advance, start)
    after = jnp.arange(steps).reshape(-1, *(1,) * last.ndim) >= index
    return jnp.moveaxis(jnp.where(after, last[None], out), 0, 1), state, last
