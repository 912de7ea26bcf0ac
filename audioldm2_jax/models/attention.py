"""The one seam for attention, and the multi-head module that every model uses."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax import backend
from audioldm2_jax.models.dense import Dense

# From this many scores in one head on, the CPU takes heads one by one: the scores stay in cache.
_MAP_SCORES = 512 * 512
# ... and this many queries at a time, so that memory grows with the length and not its square.
_QUERIES = 1024


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """In place of a mask: all keep the first lengths[which] keys; `which` is an integer array.

    On the CPU each length is a branch of the program, so that short ones do not cost what the
    longest does; elsewhere it is a mask, and the program has no branches.
    """

    lengths: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    which: jax.Array


def attend(query, key, value, *, mask=None, bias=None, scale=None) -> jax.Array:
    """Softmax attention, softmax in fp32. query: [B, L, N, H], key and value: [B, S, N, H].

    mask: bool, broadcastable to [B, N, L, S], True = keep, or a `Prefix`. bias: added to the
    scores.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    on_cpu = backend.current().cpu_kernels
    if isinstance(mask, Prefix):
        if on_cpu:
            return _attend_first(query, key, value, mask, scale)
        mask = keep_mask(jnp.arange(key.shape[1])[None] < jnp.array(mask.lengths)[mask.which])
    if not on_cpu:
        return jax.nn.dot_product_attention(query, key, value, bias, mask, scale=scale)
    if mask is None and bias is None and query.shape[1] * key.shape[1] >= _MAP_SCORES:
        return _head_by_head(query, key, value, scale)
    scores = jnp.einsum("blnh,bsnh->bnls", query * scale, key).astype(jnp.float32)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, -1).astype(value.dtype)
    return jnp.einsum("bnls,bsnh->blnh", weights, value)


# Made again for the gradients: kept values would be those of all branches, zeros for most.
@functools.partial(jax.checkpoint, static_argnums=4)
def _attend_first(query, key, value, prefix, scale):
    branches = [
        lambda q, k, v, n=length: attend(q, k[:, :n], v[:, :n], scale=scale)
        for length in prefix.lengths
    ]
    return jax.lax.switch(prefix.which, branches, query, key, value)


def _head_by_head(query, key, value, scale):
    batch, length, heads, width = query.shape

    def flat(x):
        return x.transpose(0, 2, 1, 3).reshape(batch * heads, x.shape[1], width)

    out = _heads(flat(query * scale), flat(key), flat(value))
    return out.reshape(batch, heads, length, width).transpose(0, 2, 1, 3)


@jax.custom_vjp
def _heads(query, key, value):
    """One head after the other. query: [N, L, H], scaled; key, value: [N, S, H] -> [N, L, H]."""
    return _with_totals(query, key, value)[0]


def _with_totals(query, key, value):
    """What `_heads` gives, and the logarithm of each query's sum of weights: [N, L] fp32."""

    def one(qkv):
        q, k, v = qkv

        def block(q):
            scores = (q @ k.T).astype(jnp.float32)
            top = scores.max(-1, keepdims=True)
            weights = jnp.exp(scores - top)
            total = weights.sum(-1, keepdims=True)
            out = (weights.astype(v.dtype) @ v).astype(jnp.float32) / total
            return out.astype(v.dtype), top + jnp.log(total)

        out, totals = jax.lax.map(block, _blocks(q))
        return _whole(out, q), _whole(totals, q)[:, 0]

    return jax.lax.map(one, (query, key, value))


def _blocks(q):
    """[L, H] -> [blocks, queries, H], zeros at the end."""
    queries = min(_QUERIES, q.shape[0])
    blocks = -(-q.shape[0] // queries)
    q = jnp.pad(q, ((0, blocks * queries - q.shape[0]), (0, 0)))
    return q.reshape(blocks, queries, -1)


def _whole(blocks, like):
    """The inverse of `_blocks`, as long as `like`."""
    return blocks.reshape(-1, blocks.shape[-1])[: like.shape[0]]


def _heads_forward(query, key, value):
    out, totals = _with_totals(query, key, value)
    return out, (query, key, value, out, totals)


def _heads_backward(kept, slope):
    """Weights are made again, block by block, so that none are kept; and turned, [S, L], as the
    products that follow read them.
    """

    def one(parts):
        q, k, v, out, totals, slope = parts
        change = (slope * out).astype(jnp.float32).sum(-1, keepdims=True)

        def block(sums, parts):
            q, slope, totals, change = parts
            weights = jnp.exp((k @ q.T).astype(jnp.float32) - totals.T)
            scores = (weights * ((v @ slope.T) - change.T)).astype(q.dtype)
            weights = weights.astype(q.dtype)
            return (sums[0] + scores @ q, sums[1] + weights @ slope), (k.T @ scores).T

        start = jnp.zeros_like(k), jnp.zeros_like(v)
        queries = tuple(map(_blocks, (q, slope, totals[:, None], change)))
        (dk, dv), dq = jax.lax.scan(block, start, queries)
        return _whole(dq, q), dk, dv

    return jax.lax.map(one, (*kept, slope))


_heads.defvjp(_heads_forward, _heads_backward)


def keep_mask(mask) -> jax.Array | Prefix | None:
    """[B, S] with True (or 1) = keep -> [B, 1, 1, S] for `attend`; a `Prefix` stays."""
    if isinstance(mask, Prefix):
        return mask
    return None if mask is None else mask.astype(bool)[:, None, None, :]


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be made once and used many times.

    `bias` puts biases on query, key and value; `out_bias` on the output. `scale` None is
    1/sqrt(head width).
    """

    heads: int
    head_width: int
    width: int
    bias: bool = False
    out_bias: bool = True
    scale: float | None = None
    dtype: Any = jnp.float32

    def setup(self):
        inner = self.heads * self.head_width
        self.query = Dense(inner, use_bias=self.bias, dtype=self.dtype)
        self.key = Dense(inner, use_bias=self.bias, dtype=self.dtype)
        self.value = Dense(inner, use_bias=self.bias, dtype=self.dtype)
        self.out = Dense(self.width, use_bias=self.out_bias, dtype=self.dtype)

    def keys(self, context):
        """context: [B, S, D] -> (key, value), each [B, S, N, H]."""
        return self._split(self.key(context)), self._split(self.value(context))

    def __call__(self, x, keys=None, *, mask=None, bias=None):
        """x: [B, L, D], attending to `keys` (from `keys()`; None: to itself) -> [B, L, width]."""
        key, value = self.keys(x) if keys is None else keys
        query = self._split(self.query(x))
        out = attend(query, key, value, mask=mask, bias=bias, scale=self.scale)
        return self.out(out.reshape(*out.shape[:2], -1))

    def _split(self, x):
        return x.reshape(*x.shape[:-1], self.heads, self.head_width)
