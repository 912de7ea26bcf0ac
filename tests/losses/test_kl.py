"""The VAE's posterior: its divergence and its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from audioldm2_jax.losses.kl import kl_divergence
from audioldm2_jax.models.vae import sample_posterior
from tests.training.values import draw


def test_kl_divergence():
    mean, logvar = draw(3, 4, 4, 2), 0.3 * draw(3, 4, 4, 2, seed=1)
    expected = 0.5 * np.mean(mean**2 + np.exp(logvar) - 1 - logvar, axis=(1, 2, 3))
    np.testing.assert_allclose(kl_divergence(mean, logvar), expected, rtol=1e-5)
    normal = torch.distributions.Normal(torch.tensor(mean), torch.exp(0.5 * torch.tensor(logvar)))
    unit = torch.distributions.Normal(torch.zeros(mean.shape), torch.ones(mean.shape))
    theirs = torch.distributions.kl_divergence(normal, unit).mean((1, 2, 3))
    np.testing.assert_allclose(kl_divergence(mean, logvar), theirs, rtol=1e-4)


def test_samples_of_the_posterior():
    """They have its mean and deviation, and a clip's depends on its own key."""
    mean, logvar = draw(2, 1, 1, 3), 0.5 * draw(2, 1, 1, 3, seed=1)
    wide = [jnp.broadcast_to(x, (2, 64, 64, 3)) for x in (mean, logvar)]
    keys = jax.random.split(jax.random.key(0), 2)
    drawn = np.asarray(sample_posterior(*wide, keys))
    np.testing.assert_allclose(drawn.mean((1, 2)), mean[:, 0, 0], atol=0.1)
    np.testing.assert_allclose(drawn.std((1, 2)), np.exp(0.5 * logvar[:, 0, 0]), rtol=0.1)
    alone = sample_posterior(wide[0][1:], wide[1][1:], keys[1:])
    np.testing.assert_allclose(alone[0], drawn[1], atol=1e-6)
