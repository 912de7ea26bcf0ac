"""GAN losses. Discriminator outputs (logits) are fp32 arrays of any shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def hinge_discriminator(real, fake) -> jax.Array:
    """PatchGAN's hinge loss (taming-transformers): 0.5 mean (1 - real)+ + 0.5 mean (1 + fake)+.

    real, fake: the discriminator's outputs.
    """
    return 0.5 * (jax.nn.relu(1.0 - real).mean() + jax.nn.relu(1.0 + fake).mean())


def adaptive_weight(last_layer, reconstruction_grad, adversarial_grad) -> jax.Array:
    """Weight of the adversarial term: |grad reconstruction| / |grad adversarial| at the last layer.

    last_layer: maps a gradient by the output to the gradient by the last kernel; the two others
    are the terms' gradients by the output (arXiv 2012.09841, eq. 7). Clipped to 10^4, no gradient.
    """
    norm = jnp.linalg.norm
    ratio = norm(last_layer(reconstruction_grad)) / (norm(last_layer(adversarial_grad)) + 1e-4)
    return jax.lax.stop_gradient(jnp.clip(ratio, 0.0, 1e4))


def least_squares_discriminator(real: list, fake: list) -> jax.Array:
    """HiFi-GAN (arXiv 2010.05646, eq. 1): sum of mean (1 - D(x))^2 + mean D(G(s))^2.

    real, fake: each discriminator's outputs.
    """
    pairs = zip(real, fake)
    return sum(jnp.square(1.0 - r).mean() + jnp.square(f).mean() for r, f in pairs)


def least_squares_generator(fake: list) -> jax.Array:
    """HiFi-GAN (arXiv 2010.05646, eq. 2): sum of mean (1 - D(G(s)))^2."""
    return sum(jnp.square(1.0 - f).mean() for f in fake)


def feature_matching(real: list[list], fake: list[list]) -> jax.Array:
    """HiFi-GAN (arXiv 2010.05646, eq. 4): twice the sum of mean |difference| over all layers.

    real, fake: for each discriminator the features of each layer.
    """
    pairs = zip(jax.lax.stop_gradient(real), fake)
    return 2.0 * sum(jnp.abs(r - f).mean() for rs, fs in pairs for r, f in zip(rs, fs))
