"""The LSTM that embeds voices (GE2E, arXiv 1710.10467), in the form that Resemblyzer published."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.lstm import LSTM


class SpeakerEncoder(nn.Module):
    """mel: [B, T, F] of power -> embeddings [B, D] of norm 1, none negative.

    width: of the `layers` LSTM layers. embedding: D. The last state of the last layer is embedded.
    """

    width: int = 256
    layers: int = 3
    embedding: int = 256

    @nn.compact
    def __call__(self, mel):
        states = LSTM(self.width, self.layers, name="lstm")(mel)
        x = nn.relu(Dense(self.embedding, name="embed")(states[:, -1]))
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
