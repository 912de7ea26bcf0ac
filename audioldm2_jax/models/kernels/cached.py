"""Attention to a cache of keys and values of fixed length, for decoding token by token."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def attend_cache(query, key, value, *, mask=None, bias=None, scale=None) -> jax.Array:
    """Softmax attention, scores and softmax in fp32, to a cache of any float type.

    query: [B, L, N, H]; key, value: [B, N, S, H], so that no step transposes them; mask:
    [B, 1, L or 1, S] or None; bias: [1, N, L, S] or None; scale: of the query, None is 1/sqrt(H).
    -> [B, L, N, H] in the query's type.

    Measured on the CPU: a loop over chunks of slots, up to the last one in use, takes three times
    as long as all slots, since each chunk is copied first; so does a cache in bf16.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    query = query.transpose(0, 2, 1, 3) * scale
    scores = jnp.einsum(
        "bnlh,bnsh->bnls", query.astype(key.dtype), key, preferred_element_type=jnp.float32
    )
    scores = scores if bias is None else scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, -1).astype(value.dtype)
    out = jnp.einsum("bnls,bnsh->bnlh", weights, value, preferred_element_type=jnp.float32)
    return out.astype(query.dtype).transpose(0, 2, 1, 3)
