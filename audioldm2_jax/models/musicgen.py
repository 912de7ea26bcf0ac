"""MusicGen's language model over delayed streams of codec tokens (arXiv 2306.05284).

Reference: transformers' MusicgenForCausalLM.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.decoder import Decoder
from audioldm2_jax.models.dense import Dense, Embed
from audioldm2_jax.presets import MusicGenLMConfig


class MusicGenLM(nn.Module):
    """Predicts the next token of every stream from the streams so far and a text.

    tokens: [R, L, Q], whole sequences from their first pads; states: [R, S, C] of the text encoder,
    mask: [R, S], True = keep -> logits [R, L, Q, K] fp32.
    """

    config: MusicGenLMConfig
    dtype: Any = jnp.float32

    def setup(self):
        c = self.config
        self.tokens = [Embed(c.codebook + 1, c.width, dtype=self.dtype) for _ in range(c.levels)]
        if c.projects_text:
            self.context = Dense(c.width, dtype=self.dtype)
        self.decoder = Decoder(c.decoder, self.dtype)
        self.heads = [Dense(c.codebook, use_bias=False, dtype=self.dtype) for _ in range(c.levels)]

    def __call__(self, tokens, states, mask):
        return self.step(tokens, None, 0, self.read_text(states, mask), mask)[0]

    def read_text(self, states, mask) -> tuple:
        """Keys and values of a text, for every block. states: [R, S, C]; mask: [R, S].

        What is masked is zero, so that a text of which nothing is kept adds nothing to the states:
        the unconditional of classifier-free guidance.
        """
        context = self.context(states) if self.config.projects_text else states
        return self.decoder.kv(context.astype(self.dtype) * mask[..., None].astype(self.dtype))

    def step(self, tokens, cache, slot, text, mask):
        """tokens: [R, L, Q] of slots slot..slot+L -> (logits [R, L, Q, K] fp32, cache).

        cache: of `decoder.empty_cache` or of the call before; text: of `read_text`; mask: its own.
        """
        x = sum(embed(tokens[..., level]) for level, embed in enumerate(self.tokens))
        states, cache = self.decoder(x, cache, slot, context=text, context_mask=mask)
        logits = jnp.stack([head(states) for head in self.heads], 2)
        return logits.astype(jnp.float32), cache
