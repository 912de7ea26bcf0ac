"""Draws of tokens from logits: temperature, top-k and top-p, each row with its own values."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
    """How each row's tokens are drawn; `sampling` checks the values and makes it.

    temperature: [B] float32, 0 for the most likely token. top_k: [B] int32, 0 for no limit. top_p:
    [B] float32, 1 for no limit. candidates: at least the largest top_k, 0 where no row has one;
    nucleus: whether any row has a top_p. The last two are static: programs are compiled for them.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    candidates: int = dataclasses.field(metadata={"static": True})
    nucleus: bool = dataclasses.field(metadata={"static": True})


def sampling(batch: int, *, temperature=1.0, top_k=0, top_p=1.0) -> Sampling:
    """Settings of `batch` rows, each value a number or one per row.

    Raises InputError for a negative or infinite temperature, a negative top_k, or a top_p outside
    of (0, 1].
    """
    temperature = _rows("temperature", temperature, batch, lambda x: x >= 0, "0 or more")
    integer = "an integer from 0 (no limit)"
    top_k = _rows("top_k", top_k, batch, lambda x: x >= 0 and x == int(x), integer)
    top_p = _rows("top_p", top_p, batch, lambda x: 0 < x <= 1, "above 0 and at most 1")
    largest = int(top_k.max(initial=0))
    return Sampling(
        temperature=temperature.astype(np.float32),
        top_k=top_k.astype(np.int32),
        top_p=top_p.astype(np.float32),
        # Rounded up, so that few programs are compiled.
        candidates=1 << (largest - 1).bit_length() if largest else 0,
        nucleus=bool((top_p < 1).any()),
    )


def _rows(name, value, batch, fits, allowed: str) -> np.ndarray:
    values = np.asarray(value, np.float64).reshape(-1)
    if len(values) not in (1, batch):
        raise InputError(f"{name} has {len(values)} values for {batch} clips")
    for number in values:
        if not math.isfinite(number) or not fits(number):
            raise InputError(f"{name} is {number:g}: it must be {allowed}")
    return np.broadcast_to(values, (batch,))


def filtered(logits, settings: Sampling) -> jax.Array:
    """Logits [B, ..., V] by temperature, -inf where top-k and then top-p exclude a token.

    Tokens as likely as the last one of the top k are kept too, as in transformers. The temperature
    0 leaves the logits as they are.
    """
    shape = (-1, *(1,) * (logits.ndim - 1))
    temperature, top_k, top_p = (
        jnp.asarray(x).reshape(shape)
        for x in (settings.temperature, settings.top_k, settings.top_p)
    )
    logits = logits.astype(jnp.float32) / jnp.where(temperature > 0, temperature, 1)
    candidates = min(settings.candidates, logits.shape[-1])
    if candidates:
        best = jax.lax.top_k(logits, candidates)[0]
        last = jnp.clip(top_k, 1, candidates) - 1
        least = jnp.take_along_axis(best, jnp.broadcast_to(last, (*best.shape[:-1], 1)), -1)
        logits = jnp.where((top_k > 0) & (logits < least), -jnp.inf, logits)
    if settings.nucleus:
        best = jax.lax.top_k(logits, logits.shape[-1])[0]
        chances = jax.nn.softmax(best, -1)
        # A token is kept if those before it do not reach top_p: at least the first one is.
        nucleus = jnp.cumsum(chances, -1) - chances < top_p
        least = jnp.where(nucleus, best, jnp.inf).min(-1, keepdims=True)
        logits = jnp.where((top_p < 1) & (logits < least), -jnp.inf, logits)
    return logits


def draw(logits, keys, settings: Sampling) -> jax.Array:
    """A token for each row: logits [B, ..., V], keys: [B] -> int32 [B, ...].

    A row's draw depends on its own logits, key and settings alone.
    """
    logits = filtered(logits, settings)
    drawn = jax.vmap(jax.random.categorical)(keys, logits)
    greedy = jnp.asarray(settings.temperature).reshape(-1, *(1,) * (logits.ndim - 2)) == 0
    return jnp.where(greedy, jnp.argmax(logits, -1), drawn).astype(jnp.int32)


def step_keys(keys, index) -> jax.Array:
    """Each clip's key for step `index`: [B] -> [B]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, index)


def clip_keys(key, count: int) -> jax.Array:
    """A key for each of `count` clips of a request: [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
