"""RoBERTa as CLAP's text tower (arXiv 1907.11692; reference: transformers' ClapTextModel)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.attention import Attention
from audioldm2_jax.models.dense import Dense, Embed
from audioldm2_jax.models.kernels.attention import keep_mask
from audioldm2_jax.models.layers import FeedForward, maybe_remat
from audioldm2_jax.models.norms import LayerNorm
from audioldm2_jax.presets import RobertaConfig


class RobertaBlock(nn.Module):
    """Post-norm transformer block. x: [B, L, D], mask: [B, 1, 1, L] -> [B, L, D]."""

    config: RobertaConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask):
        c = self.config
        attention = Attention(
            c.heads, c.width // c.heads, c.width, bias=True, dtype=self.dtype, name="attention"
        )
        x = LayerNorm(c.eps, self.dtype, name="norm_attention")(x + attention(x, mask=mask))
        mlp = FeedForward(c.hidden, dtype=self.dtype, name="mlp")
        return LayerNorm(c.eps, self.dtype, name="norm_mlp")(x + mlp(x))


class Roberta(nn.Module):
    """tokens: [B, L] ids padded with `pad_id`, mask: [B, L] -> pooled first token [B, D].

    Positions count the tokens that are not padding, so that padding does not change the result.
    """

    config: RobertaConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, tokens, mask):
        c = self.config
        embed = {"features": c.width, "dtype": self.dtype}
        is_token = (tokens != c.pad_id).astype(jnp.int32)
        positions = jnp.cumsum(is_token, 1) * is_token + c.pad_id
        x = Embed(c.vocab, name="tokens", **embed)(tokens)
        x = x + nn.Embed(c.types, name="types", **embed)(jnp.zeros_like(tokens))
        x = x + nn.Embed(c.positions, name="positions", **embed)(positions)
        x = LayerNorm(c.eps, self.dtype, name="norm")(x)
        mask = keep_mask(mask)
        for i in range(c.depth):
            x = maybe_remat(RobertaBlock, self.remat)(c, self.dtype, name=f"blocks_{i}")(x, mask)
        return nn.tanh(Dense(c.width, dtype=self.dtype, name="pooler")(x[:, 0]))
