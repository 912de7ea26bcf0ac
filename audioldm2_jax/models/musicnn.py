"""MusicNN, a tagger of music with wide convolutions over frequency or time (arXiv 1909.06654)."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.layers import Conv
from audioldm2_jax.models.norms import BatchNorm
from audioldm2_jax.presets import MusicNNConfig

FRAMES = 7  # of the timbral and the middle convolutions
_Norm = functools.partial(BatchNorm, eps=1e-3)  # TensorFlow's default


def _same(size: int) -> tuple[int, int]:
    """TensorFlow's padding that keeps a length: of an odd total, the end has one more."""
    return (size - 1) // 2, size // 2


class MusicNN(nn.Module):
    """mel: [B, T, F], as `features.musicnn` -> (logits [B, classes], embedding [B, width]).

    The embedding is the penultimate layer, after its batch norm.
    """

    config: MusicNNConfig

    @nn.compact
    def __call__(self, mel):
        c = self.config
        x, _ = _Norm(name="norm_input")(mel[..., None])
        front = [
            self._front(x, (FRAMES, n), w, f"timbral_{i}") for i, (n, w) in enumerate(c.timbral)
        ]
        front += [self._front(x, (n, 1), w, f"temporal_{i}") for i, (n, w) in enumerate(c.temporal)]
        x = jnp.concatenate(front, -1)
        layers, h = [x], x
        for i in range(3):
            y = Conv(c.middle, (FRAMES,), padding=(_same(FRAMES),), name=f"middle_{i}_conv")(h)
            y, _ = _Norm(name=f"middle_{i}_norm")(nn.relu(y))
            h = h + y if i else y
            layers.append(h)
        x = jnp.concatenate(layers, -1)
        # Maximum and mean of each channel side by side.
        x = jnp.stack([x.max(1), x.mean(1)], -1).reshape(x.shape[0], -1)
        x, _ = _Norm(name="norm_pool")(x)
        x = nn.relu(Dense(c.width, name="hidden")(x))
        x, _ = _Norm(name="norm_hidden")(x)
        return Dense(c.classes, name="classes")(x), x

    def _front(self, x, window: tuple[int, int], width: int, name: str):
        """A convolution, and its maximum over frequency. x: [B, T, F, 1] -> [B, T, width]."""
        padding = (_same(window[0]), (0, 0))
        x = nn.relu(Conv(width, window, padding=padding, name=f"{name}_conv")(x))
        x, _ = _Norm(name=f"{name}_norm")(x)
        return x.max(2)
