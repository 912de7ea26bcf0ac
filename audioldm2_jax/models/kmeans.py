"""k-means as a network's last layer: standardised features to the nearest centroid's index."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax.presets import KMeansConfig


def nearest(features, centroids) -> jax.Array:
    """Index of the nearest centroid. features: [..., D]; centroids: [K, D] -> int32 [...].

    |x|^2 is the same for all centroids and left out.
    """
    products = jnp.matmul(features, centroids.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(jnp.square(centroids).sum(-1) - 2 * products, -1).astype(jnp.int32)


class KMeans(nn.Module):
    """features: [B, T, D] -> ids [B, T]; stored statistics standardise the features."""

    config: KMeansConfig

    @nn.compact
    def __call__(self, features):
        c = self.config
        mean = self.param("mean", nn.initializers.zeros, (c.width,)).astype(jnp.float32)
        std = self.param("std", nn.initializers.ones, (c.width,)).astype(jnp.float32)
        shape = (c.codebook, c.width)
        centroids = self.param("centroids", nn.initializers.normal(), shape).astype(jnp.float32)
        return nearest((features.astype(jnp.float32) - mean) / std, centroids)
