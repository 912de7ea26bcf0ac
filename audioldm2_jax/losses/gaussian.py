"""The VAE's posterior: samples and divergence from the unit Gaussian."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def sampled(mean, logvar, keys):
    """A draw for each clip. mean, logvar: [B, T, F, C]; keys: [B]."""
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], jnp.float32))(keys)
    return mean + jnp.exp(0.5 * logvar) * noise


def divergence(mean, logvar):
    """Half the mean over all positions, as AudioLDM's code has it (not the sum): [B]."""
    terms = jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar
    return 0.5 * terms.mean(axis=tuple(range(1, terms.ndim)))
