"""VGGish, whose embeddings the Frechet audio distance compares (arXiv 1609.09430)."""

from __future__ import annotations

import flax.linen as nn

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.layers import Conv
from audioldm2_jax.presets import VGGishConfig


class VGGish(nn.Module):
    """mel: [B, 96, 64] -> embeddings [B, width], before any activation and without PCA."""

    config: VGGishConfig

    @nn.compact
    def __call__(self, mel):
        x = mel[..., None]
        for i, widths in enumerate(self.config.stages):
            for j, width in enumerate(widths):
                x = nn.relu(Conv(width, name=f"stages_{i}_conv_{j}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.config.hidden):
            x = nn.relu(Dense(width, name=f"hidden_{i}")(x))
        return Dense(self.config.width, name="embed")(x)
