"""Losses of generators and discriminators. All judgements are fp32 arrays of any shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def hinge(real, fake):
    """PatchGAN's loss (taming-transformers)."""
    return 0.5 * (jax.nn.relu(1.0 - real).mean() + jax.nn.relu(1.0 + fake).mean())


def adaptive_weight(last_layer, error, judged):
    """How much the adversarial term counts: the ratio of both terms' gradients at the last layer.

    last_layer: gradient with respect to the output -> gradient with respect to the last kernel;
    error, judged: the two terms' gradients with respect to the output (arXiv 2012.09841, eq. 7).
    """
    ratio = jnp.linalg.norm(last_layer(error)) / (jnp.linalg.norm(last_layer(judged)) + 1e-4)
    return jax.lax.stop_gradient(jnp.clip(ratio, 0.0, 1e4))


def least_squares_discriminator(real: list, fake: list):
    """HiFi-GAN's discriminators: sum over them of mean (1 - D(x))^2 + mean D(G)^2."""
    pairs = zip(real, fake)
    return sum(jnp.square(1.0 - r).mean() + jnp.square(f).mean() for r, f in pairs)


def least_squares_generator(fake: list):
    return sum(jnp.square(1.0 - f).mean() for f in fake)


def feature_matching(real: list[list], fake: list[list]):
    """Sum over all layers of all discriminators of the mean absolute difference, twice."""
    pairs = zip(jax.lax.stop_gradient(real), fake)
    return 2.0 * sum(jnp.abs(r - f).mean() for rs, fs in pairs for r, f in zip(rs, fs))
