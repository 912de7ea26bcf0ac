"""The grid of the multistep solvers, in lambda_t = log(alpha_t / sigma_t)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.diffusion.solvers.base import denoised
from audioldm2_jax.presets import ScheduleConfig

ORDERS = (1, 2, 3)


class LambdaGrid:
    """timesteps [E]; alpha, sigma and lambda_t [E + 1] at them and at the end.

    sigmas: [E + 1] noise to signal ratios; alpha^2 + sigma^2 = 1.
    """

    def __init__(self, timesteps, sigmas):
        sigmas = sigmas.astype(np.float64)
        self.timesteps = timesteps.astype(np.int64)  # rounded down, as in diffusers
        self.alpha = 1 / np.sqrt(sigmas**2 + 1)
        self.sigma = sigmas * self.alpha
        self.lambda_t = -np.log(sigmas)

    def denoised(self, config: ScheduleConfig, i: int, x, output):
        """(x0, eps) at grid point i."""
        return denoised(config, self.alpha[i], self.sigma[i], x, output)
