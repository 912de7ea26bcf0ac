"""The LSTM as torch computes it, with its two biases."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense


class LSTM(nn.Module):
    """Layers of LSTM. x: [B, T, C] -> [B, T, width].

    `step` continues from a state, (hidden, cell), each [layers, B, width].
    """

    width: int
    layers: int = 2
    dtype: Any = jnp.float32

    def __call__(self, x):
        return self.step(x, self.initial(x.shape[0], x.shape[2]))[0]

    def initial(self, batch: int, channels: int) -> tuple[jax.Array, jax.Array]:
        """The state before the first frame: zeros, whatever x's channels are."""
        zeros = jnp.zeros((self.layers, batch, self.width), self.dtype)
        return zeros, zeros

    @nn.compact
    def step(self, x, state):
        """The frames that follow `state` -> (outputs, the state behind them)."""
        last = []
        for i in range(self.layers):
            x, carry = self._layer(x.astype(self.dtype), (state[0][i], state[1][i]), f"layers_{i}")
            last.append(carry)
        hidden, cell = zip(*last)
        return x, (jnp.stack(hidden), jnp.stack(cell))

    def _layer(self, x, carry, name: str):
        shape = (self.width, 4 * self.width)
        kernel = self.param(f"{name}_state_kernel", nn.initializers.orthogonal(), shape)
        bias = self.param(f"{name}_state_bias", nn.initializers.zeros, shape[1:])
        # The products of all inputs at once; the loop holds what depends on the state alone.
        inputs = Dense(shape[1], dtype=self.dtype, name=f"{name}_input")(x)
        inputs, kernel = inputs + bias.astype(self.dtype), kernel.astype(self.dtype)

        def step(carry, gates):
            hidden, cell = carry
            # torch's order of gates.
            enter, forget, new, out = jnp.split(gates + hidden @ kernel, 4, axis=-1)
            cell = nn.sigmoid(forget) * cell + nn.sigmoid(enter) * jnp.tanh(new)
            hidden = nn.sigmoid(out) * jnp.tanh(cell)
            return (hidden, cell), hidden

        carry, states = jax.lax.scan(step, carry, inputs.swapaxes(0, 1))
        return states.swapaxes(0, 1), carry
