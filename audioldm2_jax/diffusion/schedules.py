"""The forward process and the grids of timesteps that samplers walk down (arXiv 2006.11239)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.presets import ScheduleConfig


def alphas_bar(config: ScheduleConfig) -> np.ndarray:
    """Share of signal variance left at every training step, float64: [train_steps]."""
    roots = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.train_steps)
    return np.cumprod(1.0 - roots**2)


def sigmas(config: ScheduleConfig) -> np.ndarray:
    """Noise to signal ratio at every training step: [train_steps]."""
    kept = alphas_bar(config)
    return np.sqrt((1.0 - kept) / kept)


def leading(config: ScheduleConfig, steps: int) -> np.ndarray:
    """`steps` timesteps at multiples of train_steps // steps, descending, shifted by the offset.

    Where the shift would leave the training range (1000 steps of 1000), it is dropped.
    """
    grid = np.arange(steps)[::-1] * (config.train_steps // steps)
    fits = grid[0] + config.steps_offset < config.train_steps
    return grid + config.steps_offset * fits


def leading_but_last(config: ScheduleConfig, steps: int) -> np.ndarray:
    """The grid of DPM-Solver++ and UniPC: the first `steps` timesteps of a grid of steps + 1."""
    if steps >= config.train_steps:
        return leading(config, steps)
    return leading(config, steps + 1)[:-1]
