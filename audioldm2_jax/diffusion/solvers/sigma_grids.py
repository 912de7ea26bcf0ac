"""Grids of sigma (noise to signal): Karras (arXiv 2206.00364), exponential, beta, lu."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.solvers.base import require
from audioldm2_jax.diffusion.timesteps import Timesteps
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

_CHOICES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def check(config: ScheduleConfig) -> None:
    """Raises InputError where a file asks for two grids at once, or for one that cannot be."""
    solver = config.solver
    chosen = [name for name in _CHOICES if getattr(solver, name)]
    if len(chosen) > 1:
        raise InputError(f"{chosen[0]} and {chosen[1]} are both True: take one of them")
    if (chosen or solver.use_lu_lambdas) and config.train_steps < 2:
        raise InputError(f"num_train_timesteps is 1: {(chosen or ['use_lu_lambdas'])[0]} needs 2")
    require(config, "final_sigmas_type", "zero", "sigma_min")


def refuse_values(timesteps: Timesteps, reason: str) -> None:
    """Raises InputError for timesteps given by value where the file makes a grid of its own."""
    if timesteps.values is not None:
        raise InputError(f"timesteps are {timesteps.values}: {reason}, a grid of its own")


def is_converted(config: ScheduleConfig, *, lu: bool = False) -> bool:
    """Whether the file asks for one of this module's grids. lu: use_lu_lambdas counts."""
    return any(getattr(config.solver, name) for name in _names(lu))


def sigma_grid(
    config: ScheduleConfig, timesteps: Timesteps, high: float, low: float, *, lu: bool = False
) -> np.ndarray:
    """The sigmas from high to low, descending, of a file for which `is_converted`: [E].

    The file's sigma_max and sigma_min replace the ends, but for lu.
    """
    solver, steps = config.solver, timesteps.total
    entry = next(name for name in _names(lu) if getattr(solver, name))
    refuse_values(timesteps, f"{entry} is True")
    ramp = np.linspace(0, 1, steps)
    if lu and solver.use_lu_lambdas and not solver.use_karras_sigmas:
        first, last = (float(np.log(np.float32(end))) for end in (high, low))
        return np.exp(first + ramp * (last - first))
    high = high if solver.sigma_max is None else solver.sigma_max
    low = low if solver.sigma_min is None else solver.sigma_min
    if solver.use_karras_sigmas:
        rho = 7  # the paper's
        return (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    if solver.use_exponential_sigmas:
        return np.exp(np.linspace(np.log(high), np.log(low), steps))
    from scipy.special import betaincinv

    return low + betaincinv(0.6, 0.6, 1 - ramp) * (high - low)


def _names(lu: bool) -> tuple[str, ...]:
    return (*_CHOICES, "use_lu_lambdas") if lu else _CHOICES


def sigmas_to_timesteps(sigmas, config: ScheduleConfig) -> np.ndarray:
    """Fractional timesteps, by interpolation of log sigma within the training range: [E] -> [E]."""
    table = np.log(schedules.sigmas_float32(config))
    log_sigmas = np.log(np.maximum(sigmas, 1e-10))
    # Zero terminal SNR's last sigma is set, and may lie below the one before it.
    low = np.searchsorted(table[:-1], log_sigmas, side="right") - 1
    low = np.where(log_sigmas >= table[-1], len(table) - 2, np.clip(low, 0, None))
    weight = (table[low] - log_sigmas) / (table[low] - table[low + 1])
    weight = np.clip(weight, 0, 1)
    return (1 - weight) * low + weight * (low + 1)
