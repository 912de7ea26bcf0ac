"""GPT-2 over continuous vectors, which generates the language of audio (AudioLDM 2, section III-B).

It has no head: the next input is the last position's final hidden state. References: diffusers'
`generate_language_model`, transformers' GPT2Model.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.layers import FeedForward, maybe_remat
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import GPT2Config


class GPT2Block(nn.Module):
    """Pre-norm transformer block with a cache of keys and values, of fixed length S."""

    config: GPT2Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, cache, start, mask):
        """x: [B, L, D] of slots start..start+L; cache: two [B, S, N, H]; mask: [B, 1, L, S]."""
        c = self.config
        attention = Attention(
            c.heads, c.width // c.heads, c.width, bias=True, dtype=self.dtype, name="attention"
        )
        h = LayerNorm(c.eps, self.dtype, name="norm_attention")(x)
        cache = tuple(
            jax.lax.dynamic_update_slice(old, new.astype(old.dtype), (0, start, 0, 0))
            for old, new in zip(cache, attention.kv(h))
        )
        x = x + attention(h, cache, mask=mask)
        h = LayerNorm(c.eps, self.dtype, name="norm_mlp")(x)
        return x + FeedForward(c.hidden, "gelu_new", dtype=self.dtype, name="mlp")(h), cache


class GPT2(nn.Module):
    """Causal transformer over vectors with absolute positions.

    x: [B, L, D] of cache slots start..start+L; positions: [B, L]; cache: of `empty_cache` or of the
    previous call; mask: [B, S], True for the slots to attend to -> (states after the final norm
    [B, L, D], cache).
    """

    config: GPT2Config
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, x, positions, cache, start, mask):
        c = self.config
        # Unused at inference (inputs are vectors); it is part of the checkpoint.
        self.param("tokens", nn.initializers.normal(0.02), (c.vocab, c.width))
        embed = nn.Embed(c.positions, c.width, dtype=self.dtype, name="positions")
        x = x.astype(self.dtype) + embed(positions)
        slots = jnp.arange(mask.shape[1])
        causal = slots[None, :] <= start + jnp.arange(x.shape[1])[:, None]
        mask = causal[None, None] & mask.astype(bool)[:, None, None, :]
        new = []
        for i in range(c.depth):
            block = maybe_remat(GPT2Block, self.remat)(c, self.dtype, name=f"blocks_{i}")
            x, entry = block(x, cache[i], start, mask)
            new.append(entry)
        return LayerNorm(c.eps, self.dtype, name="norm")(x), tuple(new)


def empty_cache(config: GPT2Config, batch: int, slots: int, dtype=jnp.float32) -> tuple:
    """Zero keys and values for every block: depth x (two [B, slots, N, H])."""
    shape = (batch, slots, config.heads, config.width // config.heads)
    return tuple((jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.depth))


def roll_out(model: GPT2, params, x, mask, positions, *, tokens: int) -> jax.Array:
    """Continues a sequence by `tokens` vectors, the LOA: [B, tokens, D].

    x: [B, L, D]; mask: [B, L]; positions: [B, L]. New vectors have the positions that follow the
    last one of each row.
    """
    batch, length, _ = x.shape
    cache = empty_cache(model.config, batch, length + tokens, model.dtype)
    mask = jnp.concatenate([mask.astype(bool), jnp.ones((batch, tokens), bool)], 1)
    states, cache = model.apply({"params": params}, x, positions, cache, 0, mask)
    first = states[:, -1:]

    def step(carry, index):
        vector, cache = carry
        position = positions[:, -1:] + 1 + index
        states, cache = model.apply(
            {"params": params}, vector, position, cache, length + index, mask
        )
        return (states, cache), vector[:, 0]

    # The last vector is output only.
    (last, _), vectors = jax.lax.scan(step, (first, cache), jnp.arange(tokens - 1))
    return jnp.concatenate([vectors.transpose(1, 0, 2), last], 1)
