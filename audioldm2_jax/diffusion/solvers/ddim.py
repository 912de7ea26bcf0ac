"""DDIM and DDPM: one step of the reverse process from x_t to x_{t_prev}."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.diffusion.solvers.base import (
    AlphasCumprod,
    SamplerSchedule,
    assemble,
    basis,
    denoised,
    require,
    supports,
)
from audioldm2_jax.diffusion.timesteps import Timesteps, timestep_grid
from audioldm2_jax.presets import ScheduleConfig

_CLIPPING = ("clip_sample", "thresholding")


@supports(unsupported=_CLIPPING)
def ddim(config: ScheduleConfig, timesteps: Timesteps, *, eta: float = 0.0) -> SamplerSchedule:
    """Denoising diffusion implicit models (arXiv 2010.02502); eta 1 is fully stochastic."""
    alphas_cumprod, grid = AlphasCumprod(config), timestep_grid(config, timesteps)
    x, _, output, noise = basis(0)
    if timesteps.values is None:
        grid_prev = grid - config.train_steps // timesteps.count
    else:
        grid_prev = np.append(grid[1:], -1)
    grid, grid_prev = grid[timesteps.begin :], grid_prev[timesteps.begin :]
    rows = []
    for t, t_prev in zip(grid, grid_prev):
        alpha_prod_t, alpha_prod_prev = alphas_cumprod(t), alphas_cumprod(t_prev)
        x0, eps = denoised(config, alpha_prod_t**0.5, (1 - alpha_prod_t) ** 0.5, x, output)
        # Equations 16 and 12.
        variance = (1 - alpha_prod_prev) / (1 - alpha_prod_t) * (1 - alpha_prod_t / alpha_prod_prev)
        sigma_t = eta * max(variance, 0.0) ** 0.5
        direction = max(1 - alpha_prod_prev - sigma_t**2, 0.0) ** 0.5 * eps
        rows.append([alpha_prod_prev**0.5 * x0 + direction + sigma_t * noise])
    return assemble(config, grid, rows, *alphas_cumprod.levels(grid), init_noise_sigma=1.0)


def _check_variance(config):
    require(config, "variance_type", "fixed_small", "fixed_small_log", "fixed_large")


@supports(unsupported=_CLIPPING, check=_check_variance)
def ddpm(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """Ancestral sampling with a fixed variance (arXiv 2006.11239)."""
    alphas_cumprod, grid = AlphasCumprod(config), timestep_grid(config, timesteps)
    grid = grid[timesteps.begin :]
    x, _, output, noise = basis(0)
    rows = []
    for t, t_prev in zip(grid, [*grid[1:], None]):
        alpha_prod_t = alphas_cumprod(t)
        alpha_prod_prev = 1.0 if t_prev is None else alphas_cumprod(t_prev)
        alpha_t = alpha_prod_t / alpha_prod_prev
        x0, _ = denoised(config, alpha_prod_t**0.5, (1 - alpha_prod_t) ** 0.5, x, output)
        # Equation 7: the posterior q(x_{t_prev} | x_t, x0), times 1 - alpha_prod_t.
        mean = alpha_prod_prev**0.5 * (1 - alpha_t) * x0 + alpha_t**0.5 * (1 - alpha_prod_prev) * x
        variance = (1 - alpha_prod_prev) / (1 - alpha_prod_t) * (1 - alpha_t)
        if config.solver.variance_type == "fixed_large":
            variance = (1 - alpha_t) * (t > 0)
        rows.append([mean / (1 - alpha_prod_t) + variance**0.5 * noise])
    return assemble(config, grid, rows, *alphas_cumprod.levels(grid), init_noise_sigma=1.0)
