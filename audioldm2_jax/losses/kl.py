"""KL divergence of the VAE's posterior from the unit Gaussian (arXiv 1312.6114, appendix B)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def kl_divergence(mean, logvar) -> jax.Array:
    """Mean over positions, as AudioLDM's code has it (not the sum). [B, T, F, C] -> [B]."""
    terms = jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar
    return 0.5 * terms.mean(axis=tuple(range(1, terms.ndim)))
