"""The multi-resolution STFT loss against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from audioldm2_jax.losses import spectral
from tests.training.values import draw


def test_spectra_at_several_resolutions():
    """As in torch; of a clip to itself no distance; gradients at silence are numbers."""
    fake, real = 0.1 * draw(2, 4096), 0.1 * draw(2, 4096, seed=1)
    expected = []
    for size in spectral.FFT_SIZES:
        window = torch.hann_window(size)
        s_fake, s_real = (
            torch.stft(torch.tensor(x), size, size // 4, window=window, return_complex=True)
            .abs()
            .square()
            .clamp(min=1e-7)
            .sqrt()
            for x in (fake, real)
        )
        convergence = (s_real - s_fake).norm() / s_real.norm()
        expected.append(convergence + F.l1_loss(s_fake.log(), s_real.log()))
    loss = spectral.multi_resolution_stft(fake, real)
    np.testing.assert_allclose(loss, sum(expected) / 3, rtol=1e-4)
    assert spectral.multi_resolution_stft(real, real) == 0
    gradient = jax.grad(spectral.multi_resolution_stft)(jnp.zeros((2, 4096)), real)
    assert np.isfinite(gradient).all()
