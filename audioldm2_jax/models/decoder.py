"""The decoder-only transformer of AudioLM's stages and of MusicGen (arXiv 2209.03143, 2306.05284).

Its cache of keys and values has a fixed number S of slots, an argument and a result of each call.
Rows of a batch may have prompts of several lengths: they end at the same slot, and row b begins at
slot `starts[b]`. References: transformers' T5Stack, MusicgenDecoder, LlamaAttention.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels.attention import keep_mask
from audioldm2_jax.models.kernels.cached import attend_cache
from audioldm2_jax.models.kernels.dispatch import attend
from audioldm2_jax.models.layers import FeedForward
from audioldm2_jax.models.norms import LayerNorm, RMSNorm
from audioldm2_jax.models.t5 import distance_buckets
from audioldm2_jax.presets import DecoderConfig

NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def sinusoids(positions, width: int) -> jax.Array:
    """MusicGen's position vectors, cosines first, fp32. positions: [B, L] -> [B, L, width]."""
    half = width // 2
    frequencies = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-math.log(10000) / (half - 1)))
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def rotation(positions, width: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of rotary positions. positions: [B, L] -> two [B, L, 1, width / 2]."""
    frequencies = theta ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = positions[..., None, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x, turn) -> jax.Array:
    """Turns the pairs (x[i], x[i + H/2]) by `turn`, of `rotation`. x: [B, L, N, H]."""
    cosine, sine = turn
    first, second = jnp.split(x.astype(jnp.float32), 2, -1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.concatenate(turned, -1).astype(x.dtype)


class CausalAttention(nn.Module):
    """Self-attention of slots to those before them.

    Parameters hold `query`, `key` and `value` or, after `merge_products`, all three as `qkv`.
    """

    config: DecoderConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, turn, cache, slot, mask, bias):
        """x: [B, L, D] of slots slot..slot+L -> (y [B, L, D], cache).

        turn: of `rotation`, or None. cache: keys and values, two [B, N, S, H]; None if x is the
        whole sequence. mask: [B, 1, L, S]; bias: [1, N, L, S] or None.
        """
        c = self.config
        dense = functools.partial(Dense, use_bias=c.bias, dtype=self.dtype)
        if self.has_variable("params", "qkv"):
            products = jnp.split(dense(3 * c.inner, name="qkv")(x), 3, -1)
        else:
            products = [dense(c.inner, name=name)(x) for name in ("query", "key", "value")]
        query, key, value = (y.reshape(*y.shape[:2], c.heads, c.head_width) for y in products)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        new = [y.transpose(0, 2, 1, 3) for y in (key, value)]
        if cache is None:
            cache = tuple(new)
            y = attend(query, key, value, mask=mask, bias=bias, scale=c.scale)
        else:
            cache = tuple(
                jax.lax.dynamic_update_slice(old, y.astype(old.dtype), (0, 0, slot, 0))
                for old, y in zip(cache, new)
            )
            y = attend_cache(query, *cache, mask=mask, bias=bias, scale=c.scale)
        return dense(c.width, name="out")(y.reshape(*x.shape[:2], c.inner)), cache


class CrossAttention(nn.Module):
    """Attention to a context, whose keys and values are computed once."""

    config: DecoderConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        dense = functools.partial(Dense, use_bias=c.bias, dtype=self.dtype)
        self.query, self.key, self.value = dense(c.inner), dense(c.inner), dense(c.inner)
        self.out = dense(c.width)

    def kv(self, context):
        """context: [B, S, C] -> keys and values, two [B, N, S, H], as each step reads them."""
        parts = self._split(self.key(context)), self._split(self.value(context))
        return tuple(part.transpose(0, 2, 1, 3) for part in parts)

    def __call__(self, x, kv, mask):
        """x: [B, L, D]; kv: of `kv`; mask: [B, 1, 1, S] or None -> [B, L, D]."""
        y = attend_cache(self._split(self.query(x)), *kv, mask=mask, scale=self.config.scale)
        return self.out(y.reshape(*x.shape[:2], -1))

    def _split(self, x):
        return x.reshape(*x.shape[:2], self.config.heads, self.config.head_width)


class DecoderBlock(nn.Module):
    """Pre-norm block: self-attention, attention to the context if there is one, feed-forward."""

    config: DecoderConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        norm = functools.partial(NORMS[c.norm], c.eps, self.dtype)
        self.norm_attention, self.norm_mlp = norm(), norm()
        self.attention = CausalAttention(c, self.dtype)
        if c.cross:
            self.norm_cross = norm()
            self.cross = CrossAttention(c, self.dtype)
        self.mlp = FeedForward(c.hidden, c.activation, c.gated, c.bias, dtype=self.dtype)

    def kv(self, context):
        """As `CrossAttention.kv`."""
        return self.cross.kv(context)

    def __call__(self, x, turn, cache, slot, mask, bias, context, context_mask):
        """As `CausalAttention`. context: of `kv`; context_mask: [B, 1, 1, S]."""
        y, cache = self.attention(self.norm_attention(x), turn, cache, slot, mask, bias)
        x = x + y
        if self.config.cross:
            x = x + self.cross(self.norm_cross(x), context, context_mask)
        return x + self.mlp(self.norm_mlp(x)), cache


class Decoder(nn.Module):
    """Causal transformer over embedded tokens; its last layer is a norm, and the head is outside.

    Parameters of the relative bias are in `positions`, one table for all blocks, as in T5.
    """

    config: DecoderConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        if c.positions == "relative":
            self.positions = nn.Embed(c.buckets, c.heads, dtype=jnp.float32)
        self.blocks = [DecoderBlock(c, self.dtype) for _ in range(c.depth)]
        self.norm = NORMS[c.norm](c.eps, self.dtype)

    def kv(self, context) -> tuple:
        """Keys and values of a context, computed once. context: [B, S, C] -> depth x (k, v)."""
        return tuple(block.kv(context) for block in self.blocks)

    def __call__(self, x, cache=None, slot=0, starts=None, context=None, context_mask=None):
        """x: [B, L, D] of slots slot..slot+L -> (states after the norm [B, L, D], cache).

        cache: of the previous call, or None if x is the whole sequence from slot 0; the cache that
        is then returned has L slots (see `grow_cache`). starts: [B], the first slot of each row's
        sequence, None for 0; states of slots before it are meaningless. context: of `kv`;
        context_mask: [B, S], True for the keys to attend to.
        """
        c = self.config
        keys = x.shape[1] if cache is None else cache[0][0].shape[2]
        slots = slot + jnp.arange(x.shape[1])
        starts = jnp.zeros(x.shape[:1], jnp.int32) if starts is None else starts
        mask = jnp.arange(keys) <= slots[:, None]
        mask = mask & (jnp.arange(keys) >= starts[:, None, None])
        positions = jnp.maximum(slots - starts[:, None], 0)
        x, turn, bias = x.astype(self.dtype), None, None
        if c.positions == "sinusoidal":
            x = x + sinusoids(positions, c.width).astype(self.dtype)
        elif c.positions == "rope":
            turn = rotation(positions, c.head_width, c.theta)
        else:
            bias = self._bias(slots, keys)
        context_mask = keep_mask(context_mask)
        entries = []
        for i, block in enumerate(self.blocks):
            x, entry = block(
                x,
                turn,
                None if cache is None else cache[i],
                slot,
                mask[:, None],
                bias,
                None if context is None else context[i],
                context_mask,
            )
            entries.append(entry)
        return self.norm(x), tuple(entries)

    def _bias(self, slots, keys: int):
        """T5's unidirectional bias. slots: [L] of the queries -> [1, N, L, keys]."""
        c = self.config
        buckets = distance_buckets(np.arange(keys), c.buckets, c.distance)
        distances = jnp.clip(slots[:, None] - jnp.arange(keys), 0, keys - 1)
        return self.positions(jnp.asarray(buckets)[distances]).transpose(2, 0, 1)[None]


def empty_cache(config: DecoderConfig, batch: int, slots: int, dtype=jnp.float32) -> tuple:
    """Zero keys and values for every block: depth x (two [B, N, S, H])."""
    shape = (batch, config.heads, slots, config.head_width)
    return tuple((jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.depth))


def grow_cache(cache: tuple, slots: int, dtype=None) -> tuple:
    """The cache with empty slots at its end, S in all, in `dtype` (None: as it is)."""

    def grown(x):
        x = x if dtype is None else x.astype(dtype)
        return jnp.pad(x, ((0, 0), (0, 0), (0, slots - x.shape[2]), (0, 0)))

    return jax.tree.map(grown, cache)


def merge_products(params: dict) -> dict:
    """Parameters whose self-attentions have one matrix `qkv` in place of three.

    Fewer and larger products are faster where each reads its weights alone, in decoding.
    """
    merged = dict(params)
    for name, block in params.items():
        if name.startswith("blocks_"):
            attention = dict(block["attention"])
            parts = [attention.pop(part) for part in ("query", "key", "value")]
            attention["qkv"] = jax.tree.map(lambda *x: jnp.concatenate(x, -1), *parts)
            merged[name] = block | {"attention": attention}
    return merged
