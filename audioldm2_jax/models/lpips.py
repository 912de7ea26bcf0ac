"""LPIPS, a perceptual distance of images by a classifier's features (arXiv 1801.03924).

Reference: the `lpips` package with VGG16, which the authors' VAE training uses.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.models.layers import Conv

# Widths of VGG16's convolutions by stage; the features are the stages' outputs.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# ImageNet's statistics for pixels from -1 to 1.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class VGG16(nn.Module):
    """images: [B, H, W, 3], normalised -> the five stages' features."""

    @nn.compact
    def __call__(self, x):
        features = []
        for i, widths in enumerate(STAGES):
            if i:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for j, width in enumerate(widths):
                x = nn.relu(Conv(width, name=f"stages_{i}_conv_{j}")(x))
            features.append(x)
        return features


class LPIPS(nn.Module):
    """Distances of pairs of single-channel images of at least 16 pixels a side.

    image, other: [B, H, W], from -1 to 1 -> [B].
    """

    def setup(self):
        self.vgg = VGG16()
        ones = nn.initializers.ones
        self.weights = [
            self.param(f"weights_{i}", ones, (widths[-1],)) for i, widths in enumerate(STAGES)
        ]

    def __call__(self, image, other):
        shift, scale = np.array(SHIFT, np.float32), np.array(SCALE, np.float32)
        both = jnp.concatenate([image, other])[..., None].astype(jnp.float32)
        total = 0.0
        for x, weights in zip(self.vgg((both - shift) / scale), self.weights):
            norm = jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-20)
            one, two = jnp.split(x / (norm + 1e-10), 2)
            total = total + (jnp.square(one - two) * weights).sum(-1).mean((1, 2))
        return total
