"""Softmax attention: masks, the accelerators' ways, and the CPU's, which keeps scores in cache."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

# From this many scores of one head on, heads are computed one by one: the scores stay in cache.
_MAP_SCORES = 512 * 512
# ... and this many queries at a time, so that memory grows with the length and not its square.
_QUERIES = 1024
# Keys of a chunk of `KeyLengths`: nearly every prompt has fewer tokens.
_KEYS = 64
# cuDNN's fused attention takes these types, and heads up to this width on every card.
_FUSED_DTYPES = (jnp.bfloat16, jnp.float16)
_FUSED_WIDTH = 128


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """A mask of one length for all clips: the first lengths[which] keys are kept.

    which: an integer array. On the CPU each length is a branch of the program, so that a short one
    costs less than the longest; elsewhere it becomes an ordinary mask.
    """

    lengths: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    which: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeyLengths:
    """A mask of each clip's own length: the first lengths[b] >= 1 keys are kept. lengths: [B].

    The CPU computes only as many chunks of keys as the longest clip has, so that keys padded to a
    length that all texts share cost nothing.
    """

    lengths: jax.Array


def key_lengths(mask) -> KeyLengths | Prefix | None:
    """A mask of keys, [B, S], True (or 1) = keep, whose kept keys come first, for `attend`.

    None, a `Prefix` and `KeyLengths` are returned as they are.
    """
    if mask is None or isinstance(mask, Prefix | KeyLengths):
        return mask
    return KeyLengths(mask.astype(jnp.int32).sum(-1))


def keep_mask(mask) -> jax.Array | Prefix | None:
    """A mask of keys for `attend`: [B, S], True (or 1) = keep -> [B, 1, 1, S].

    None and a `Prefix` are returned as they are.
    """
    if isinstance(mask, Prefix):
        return mask
    return None if mask is None else mask.astype(bool)[:, None, None, :]


def pad_keys(kv, keys: int | None):
    """A tree of keys or values [B, S, N, H], with zeros up to `keys` of them (None: as it is)."""
    if keys is None:
        return kv
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, keys - x.shape[1]), (0, 0), (0, 0))), kv)


def xla_attend(query, key, value, *, scale: float, mask=None, bias=None) -> jax.Array:
    """As `dispatch.attend`; a `Prefix` becomes a mask, so that the program has no branches."""
    if isinstance(mask, Prefix | KeyLengths):
        mask = _mask_of(_lengths(mask, key), key)
    return jax.nn.dot_product_attention(query, key, value, bias, mask, scale=scale)


def cudnn_attend(query, key, value, *, scale: float, mask=None, bias=None) -> jax.Array:
    """As `dispatch.attend`: one kernel that writes no scores, where cuDNN takes the arguments."""
    prefix = mask is None or isinstance(mask, Prefix | KeyLengths)
    width = query.shape[-1]
    fits = query.dtype in _FUSED_DTYPES and width % 8 == 0 and width <= _FUSED_WIDTH
    # JAX refuses the gradient for odd lengths, which only a bias would need to be even.
    even = query.shape[1] % 2 == 0 and key.shape[1] % 2 == 0
    if not (prefix and fits and bias is None and even):
        return xla_attend(query, key, value, scale=scale, mask=mask, bias=bias)
    lengths = None if mask is None else _lengths(mask, key)
    return jax.nn.dot_product_attention(
        query, key, value, scale=scale, key_value_seq_lengths=lengths, implementation="cudnn"
    )


def _lengths(mask: Prefix | KeyLengths, key) -> jax.Array:
    """How many keys of each clip are kept: int32 [B]."""
    if isinstance(mask, KeyLengths):
        return mask.lengths
    length = jnp.array(mask.lengths, jnp.int32)[mask.which]
    return jnp.broadcast_to(length, key.shape[:1])


def _mask_of(lengths, key) -> jax.Array:
    """[B] -> [B, 1, 1, S]."""
    return keep_mask(jnp.arange(key.shape[1]) < lengths[:, None])


def cpu_attend(query, key, value, *, scale: float, mask=None, bias=None) -> jax.Array:
    """As `dispatch.attend`; each length of a `Prefix` is a branch of the program."""
    if isinstance(mask, Prefix):
        return _attend_prefix(query, key, value, mask, scale)
    if isinstance(mask, KeyLengths):
        if key.shape[1] > _KEYS and key.shape[1] % _KEYS == 0 and bias is None:
            return _attend_chunks(query * scale, key, value, mask.lengths)
        mask = _mask_of(mask.lengths, key)
    if mask is None and bias is None and query.shape[1] * key.shape[1] >= _MAP_SCORES:
        return _head_by_head(query, key, value, scale)
    scores = jnp.einsum("blnh,bsnh->bnls", query * scale, key).astype(jnp.float32)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, -1).astype(value.dtype)
    return jnp.einsum("bnls,bsnh->blnh", weights, value)


# Rematerialised: saved residuals would be those of all branches, most of them zeros.
@functools.partial(jax.checkpoint, static_argnums=4)
def _attend_prefix(query, key, value, prefix, scale):
    branches = [
        lambda q, k, v, n=length: cpu_attend(q, k[:, :n], v[:, :n], scale=scale)
        for length in prefix.lengths
    ]
    return jax.lax.switch(prefix.which, branches, query, key, value)


@jax.custom_vjp
def _attend_chunks(query, key, value, lengths):
    """Softmax over chunks of keys, up to the longest clip's last one. query: scaled."""

    def chunk(index):
        """(largest score, sum of weights [B, N, L, 1] each, weighted values [B, N, L, H])."""
        first = index * _KEYS
        k, v = (jax.lax.dynamic_slice_in_dim(x, first, _KEYS, 1) for x in (key, value))
        scores = jnp.einsum("blnh,bsnh->bnls", query, k).astype(jnp.float32)
        scores = jnp.where(_mask_of(lengths - first, k), scores, jnp.finfo(jnp.float32).min)
        top = scores.max(-1, keepdims=True)
        weights = jnp.exp(scores - top)
        out = jnp.einsum("bnls,bsnh->bnlh", weights.astype(v.dtype), v)
        return top, weights.sum(-1, keepdims=True), out.astype(jnp.float32)

    def add(index, sums):
        (top, total, out), (new_top, new_total, new_out) = sums, chunk(index)
        highest = jnp.maximum(top, new_top)
        old, new = jnp.exp(top - highest), jnp.exp(new_top - highest)
        return highest, old * total + new * new_total, old * out + new * new_out

    # A clip whose keys end before a chunk has its lowest score there, and so the weight zero.
    chunks = -(-lengths.max() // _KEYS)
    _, total, out = jax.lax.fori_loop(1, chunks, add, chunk(0))
    return (out / total).astype(value.dtype).transpose(0, 2, 1, 3)


def _chunks_forward(*arguments):
    return _attend_chunks(*arguments), arguments


def _chunks_backward(arguments, slope):
    """A loop of a traced number of chunks has no reverse: the slopes are those of all keys."""
    query, key, value, lengths = arguments

    def masked(query, key, value):
        return cpu_attend(query, key, value, scale=1.0, mask=_mask_of(lengths, key))

    return *jax.vjp(masked, query, key, value)[1](slope), None


_attend_chunks.defvjp(_chunks_forward, _chunks_backward)


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
    """The result of `_heads`, and the logarithm of each query's sum of weights: [N, L] fp32."""

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


def _heads_backward(residuals, slope):
    """Recomputes the weights block by block, transposed to [S, L], as the products read them."""

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

    return jax.lax.map(one, (*residuals, slope))


_heads.defvjp(_heads_forward, _heads_backward)
