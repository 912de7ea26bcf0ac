"""The LSTM that embeds voices (GE2E, arXiv 1710.10467), in the form that Resemblyzer published."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense


class SpeakerEncoder(nn.Module):
    """mel: [B, T, F] of power -> embeddings [B, D] of norm 1, none negative.

    width: of the `layers` LSTM layers. embedding: D. The last state of the last layer is embedded.
    """

    width: int = 256
    layers: int = 3
    embedding: int = 256

    @nn.compact
    def __call__(self, mel):
        x = mel
        for i in range(self.layers):
            x = self._lstm(x, f"layers_{i}")
        x = nn.relu(Dense(self.embedding, name="embed")(x[:, -1]))
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    def _lstm(self, x, name: str):
        """One layer from states of zeros. x: [B, T, C] -> [B, T, width]."""
        kernel = self.param(
            f"{name}_state_kernel", nn.initializers.orthogonal(), (self.width, 4 * self.width)
        )
        bias = self.param(f"{name}_state_bias", nn.initializers.zeros, (4 * self.width,))
        inputs = Dense(4 * self.width, name=f"{name}_input")(x)

        def step(carry, gates):
            hidden, cell = carry
            # torch's order of gates.
            enter, forget, new, out = jnp.split(gates + hidden @ kernel + bias, 4, axis=-1)
            cell = nn.sigmoid(forget) * cell + nn.sigmoid(enter) * jnp.tanh(new)
            hidden = nn.sigmoid(out) * jnp.tanh(cell)
            return (hidden, cell), hidden

        zeros = jnp.zeros((x.shape[0], self.width), x.dtype)
        _, states = jax.lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))
        return states.swapaxes(0, 1)
