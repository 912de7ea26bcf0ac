"""GAN losses against their formulas."""

import numpy as np
import torch
import torch.nn.functional as F

from audioldm2_jax.losses import adversarial
from tests.training.values import draw


def test_adversarial_losses():
    real, fake = [draw(2, 5), draw(2, 3)], [draw(2, 5, seed=1), draw(2, 3, seed=1)]
    expected = sum(((1 - r) ** 2).mean() + (f**2).mean() for r, f in zip(real, fake))
    np.testing.assert_allclose(
        adversarial.least_squares_discriminator(real, fake), expected, rtol=1e-5
    )
    expected = sum(((1 - f) ** 2).mean() for f in fake)
    np.testing.assert_allclose(adversarial.least_squares_generator(fake), expected, rtol=1e-5)
    expected = 2 * sum(np.abs(r - f).mean() for r, f in zip(real, fake))
    np.testing.assert_allclose(adversarial.feature_matching([real], [fake]), expected, rtol=1e-5)
    hinge = 0.5 * (
        F.relu(1 - torch.tensor(real[0])).mean() + F.relu(1 + torch.tensor(fake[0])).mean()
    )
    np.testing.assert_allclose(adversarial.hinge_discriminator(real[0], fake[0]), hinge, rtol=1e-5)
