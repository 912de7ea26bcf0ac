"""A language model over tokens of sound: one of AudioLM's stages (arXiv 2209.03143)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.decoder import Decoder
from audioldm2_jax.models.dense import Embed
from audioldm2_jax.presets import TokenLMConfig


class TokenLM(nn.Module):
    """Embedding, decoder and head, whose tables are not tied; V tokens."""

    config: TokenLMConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        width = c.decoder.width
        self.tokens = Embed(c.vocabulary, width, dtype=self.dtype)
        self.decoder = Decoder(c.decoder, self.dtype)
        self.head = self.param("head", nn.initializers.lecun_normal(), (width, c.vocabulary))

    def __call__(self, tokens, starts=None):
        """The whole pass. tokens: [B, L], starts: [B] as of `Decoder` -> logits [B, L, V] fp32."""
        states, _ = self.states(tokens, starts=starts)
        return self.logits(states, 0, self.config.vocabulary)

    def states(self, tokens, cache=None, slot=0, starts=None):
        """tokens: [B, L] -> (states [B, L, D], cache); the others are those of `Decoder`."""
        return self.decoder(self.tokens(tokens), cache, slot, starts)

    def logits(self, states, first, count: int):
        """Of the tokens first..first+count, first may be traced: [..., D] -> [..., count] fp32.

        A step of decoding thus reads the head's columns of one level alone.
        """
        columns = jax.lax.dynamic_slice_in_dim(self.head, first, count, 1)
        return (states @ columns.astype(states.dtype)).astype(jnp.float32)
