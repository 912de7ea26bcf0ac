"""PANNs' audio classifier Cnn14 (arXiv 1912.10211), and smaller networks of its form."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels import dispatch
from audioldm2_jax.models.norms import BatchNorm
from audioldm2_jax.presets import PANNsConfig


class Cnn14(nn.Module):
    """mel: [B, T, F] in dB -> (logits [B, classes], embedding [B, width], batch statistics).

    Blocks of two 3x3 convolutions with batch norms and average pooling; then the maximum plus the
    mean over time. train: whether batch norms use the batch's statistics. key: of PANNs' dropout;
    None is none. frames: [B], the first frames of each clip that count; the result is that of the
    clip cut to them. None is all of them.
    """

    config: PANNsConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, mel, train: bool = False, key=None, frames=None):
        c, statistics = self.config, {}
        keys = iter(() if key is None else jax.random.split(key, len(c.channels) + 2))
        x, statistics["norm_mel"] = BatchNorm(name="norm_mel")(mel, train)
        x = _cut(x[..., None].astype(self.dtype), frames)
        for i, width in enumerate(c.channels):
            for j in range(2):
                shape = (3, 3, x.shape[-1], width)
                kernel = self.param(f"blocks_{i}_conv_{j}", nn.initializers.he_normal(), shape)
                x, name = dispatch.conv(x, kernel.astype(self.dtype)), f"blocks_{i}_norm_{j}"
                x, statistics[name] = BatchNorm(name=name)(x, train)
                x = _cut(nn.relu(x).astype(self.dtype), frames)
            if i < len(c.channels) - 1:
                x = nn.avg_pool(x, (2, 2), (2, 2))
                frames = None if frames is None else frames // 2
                x = _cut(x, frames)
            x = _dropout(x, 0.2, keys)
        x = x.mean(2)
        # Frames that do not count are 0, and others not below: they leave the maximum as it is.
        mean = x.mean(1) if frames is None else x.sum(1) / frames[:, None].astype(x.dtype)
        x = _dropout(x.max(1) + mean, 0.5, keys)
        x = nn.relu(Dense(c.width, dtype=self.dtype, name="embed")(x))
        logits = Dense(c.classes, name="classes")(_dropout(x, 0.5, keys).astype(jnp.float32))
        return logits, x.astype(jnp.float32), statistics


def _cut(x, frames):
    """Zeros behind the frames that count, as convolutions pad a clip's end. x: [B, T, F, C]."""
    if frames is None:
        return x
    counts = jnp.arange(x.shape[1]) < frames[:, None]
    return jnp.where(counts[:, :, None, None], x, 0)


def _dropout(x, share: float, keys):
    """Dropout of a share of values with the next key; the identity if there is none."""
    key = next(keys, None)
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - share, x.shape), x / (1 - share), 0)
