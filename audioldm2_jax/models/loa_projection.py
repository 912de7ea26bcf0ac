"""GPT-2's input from CLAP and T5 or phonemes (reference: diffusers' AudioLDM2ProjectionModel)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.presets import ProjectionConfig


class LOAProjection(nn.Module):
    """Projects both encodings to one width, each between its start and end vectors.

    clap: [B, D1], text: [B, L, D2], mask: [B, L] -> (sequence [B, L + 5, D], mask [B, L + 5]):
    start, clap, end, start, text, end. With a position table (speech), L is the table's length.
    """

    config: ProjectionConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, clap, text, mask):
        c, width, batch = self.config, self.config.width, clap.shape[0]
        if c.positions:
            shape = (c.positions, c.text_width)
            text = text + self.param("positions", nn.initializers.zeros, shape).astype(self.dtype)
        clap = Dense(width, dtype=self.dtype, name="clap")(clap)[:, None]
        text = Dense(width, dtype=self.dtype, name="text")(text)

        def marker(name):
            vector = self.param(name, nn.initializers.ones, (width,)).astype(self.dtype)
            return jnp.broadcast_to(vector, (batch, 1, width))

        parts = [marker("clap_start"), clap, marker("clap_end")]
        parts += [marker("text_start"), text, marker("text_end")]
        one = jnp.ones((batch, 1), bool)
        mask = jnp.concatenate([jnp.ones((batch, 4), bool), mask.astype(bool), one], 1)
        return jnp.concatenate(parts, 1), mask


def sequence_positions(length: int, text_lengths) -> jax.Array:
    """Positions of a `LOAProjection` sequence whose text is padded to `length`: [B, length + 5].

    text_lengths: [B], the numbers of text slots. The end vector's position follows the last of
    them, so that padding to a compiled length changes nothing.
    """
    text_lengths = jnp.asarray(text_lengths)
    front = jnp.broadcast_to(jnp.arange(length + 4), (text_lengths.shape[0], length + 4))
    return jnp.concatenate([front, 4 + text_lengths[:, None]], 1)
