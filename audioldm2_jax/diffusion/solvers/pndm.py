"""Pseudo numerical methods (arXiv 2202.09778), with and without their Runge-Kutta start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audioldm2_jax.diffusion.solvers.base import (
    AlphasCumprod,
    SamplerSchedule,
    assemble,
    basis,
    denoised,
    supports,
)
from audioldm2_jax.diffusion.timesteps import Timesteps, timestep_grid
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

# For one to four predictions: the divisor and the weights, the newest first.
_ADAMS_BASHFORTH = ((1, 1), (2, 3, -1), (12, 23, -16, 5), (24, 55, -59, 37, -9))


@supports(predictions=("epsilon", "v_prediction"), zero_snr=False)
def pndm(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """Pseudo numerical methods (arXiv 2202.09778): three Runge-Kutta steps, then linear multistep.

    The start makes it steps + 9 evaluations; with skip_prk_steps it is one evaluation twice. A
    start in the middle restarts the same way (diffusers' class then skips a timestep).
    """
    if timesteps.values is not None:
        raise InputError(
            f"timesteps are {timesteps.values}: its formulas need a grid of equal steps"
        )
    steps = timesteps.count
    grid = timestep_grid(config, timesteps)[timesteps.begin :]
    if config.solver.skip_prk_steps:
        times, rows = _plms_rows(config, grid, config.train_steps // steps)
    elif len(grid) < 4:
        where = "" if timesteps.begin == 0 else f", of which strength runs {len(grid)}"
        raise InputError(f"steps is {steps}{where}: it needs at least 4")
    else:
        times, rows = _runge_kutta_rows(config, grid, config.train_steps // steps)
    levels = AlphasCumprod(config).levels(times)
    return assemble(config, times, rows, *levels, init_noise_sigma=1.0)


def _runge_kutta_rows(config, grid, ratio: int):
    """Three steps of four evaluations each, then one evaluation a step."""
    transfer = _transfer(config)
    x, (origin, total, e1, e2, e3), eps, _ = basis(5)
    times, rows = [], []
    for t, t_prev in zip(grid[:3], grid[1:4]):
        # Evaluations at the step's start, twice in its middle, and at its end.
        middle = t_prev + ratio // 2
        times += [t, middle, middle, t_prev]
        rows += [
            [transfer(x, eps, t, t - ratio // 2), x, eps / 6, eps, e1, e2],
            [transfer(origin, eps, t, middle), origin, total + eps / 3, e1, e2, e3],
            [transfer(origin, eps, t, middle - ratio // 2), origin, total + eps / 3, e1, e2, e3],
            [transfer(origin, total + eps / 6, t, t_prev), origin, 0 * x, e1, e2, e3],
        ]
    for t in grid[3:]:
        times.append(t)
        blend = _adams_bashforth(eps, e1, e2, e3)
        rows.append([transfer(x, blend, t, t - ratio), origin, total, eps, e1, e2])
    return times, rows


def _plms_rows(config, grid, ratio: int):
    """Without the Runge-Kutta start: the second evaluation redoes the first step, as Heun would."""
    transfer = _transfer(config)
    x, (origin, e1, e2, e3), eps, _ = basis(4)
    times = np.concatenate([grid[:1], grid[1:2], grid[1:]])
    rows = []
    for i, t in enumerate(times):
        if i == 1:
            rows.append([transfer(origin, (eps + e1) / 2, t + ratio, t), origin, e1, e2, e3])
            continue
        blend = _adams_bashforth(eps, *(e1, e2, e3)[: max(i - 1, 0)])
        rows.append([transfer(x, blend, t, t - ratio), x if i == 0 else origin, eps, e1, e2])
    return times, rows


def _transfer(config) -> Callable:
    """Equation 9: transfer(x_t, prediction, t, t_prev) -> x_{t_prev}."""
    alphas_cumprod = AlphasCumprod(config)

    def transfer(x_t, prediction, t, t_prev):
        alpha_t, alpha_prev = alphas_cumprod(t), alphas_cumprod(t_prev)
        _, eps = denoised(config, alpha_t**0.5, (1 - alpha_t) ** 0.5, x_t, prediction)
        weight = alpha_t * (1 - alpha_prev) ** 0.5 + (alpha_t * (1 - alpha_t) * alpha_prev) ** 0.5
        return (alpha_prev / alpha_t) ** 0.5 * x_t - (alpha_prev - alpha_t) / weight * eps

    return transfer


def _adams_bashforth(*predictions):
    """The linear multistep blend of predictions, the newest first."""
    divisor, *weights = _ADAMS_BASHFORTH[len(predictions) - 1]
    return sum(w * e for w, e in zip(weights, predictions)) / divisor
