"""Grids of sigma (noise to signal): Karras (arXiv 2206.00364), exponential, beta, lu."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.plan import require
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


def grid(config: ScheduleConfig, steps: int, high: float, low: float, *, lu: bool = False):
    """`steps` sigmas from high to low, descending, or None where the file asks for no such grid.

    sigma_max and sigma_min of the file take the ends' place. lu: whether use_lu_lambdas counts.
    """
    solver = config.solver
    ramp = np.linspace(0, 1, steps)
    if lu and solver.use_lu_lambdas and not solver.use_karras_sigmas:
        first, last = (float(np.log(np.float32(end))) for end in (high, low))
        return np.exp(first + ramp * (last - first))
    high = high if solver.sigma_max is None else solver.sigma_max
    low = low if solver.sigma_min is None else solver.sigma_min
    if solver.use_karras_sigmas:
        return (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    if solver.use_exponential_sigmas:
        return np.exp(np.linspace(np.log(high), np.log(low), steps))
    if solver.use_beta_sigmas:
        from scipy.special import betaincinv

        return low + betaincinv(0.6, 0.6, 1 - ramp) * (high - low)
    return None


def is_converted(config: ScheduleConfig, *, lu: bool = False) -> bool:
    """Whether the file asks for one of this module's grids."""
    wanted = any(getattr(config.solver, name) for name in _CHOICES)
    return wanted or (lu and config.solver.use_lu_lambdas)


def timesteps_of(levels, config: ScheduleConfig) -> np.ndarray:
    """The fractional timesteps of sigmas, by interpolation of log sigma within the training range.

    levels: [S] -> [S].
    """
    table, wanted = np.log(schedules.sigmas_float32(config)), np.log(np.maximum(levels, 1e-10))
    # Zero terminal SNR's last sigma is set, and may lie below the one before it.
    low = np.searchsorted(table[:-1], wanted, side="right") - 1
    low = np.where(wanted >= table[-1], len(table) - 2, np.clip(low, 0, None))
    weight = (table[low] - wanted) / (table[low] - table[low + 1])
    weight = np.clip(weight, 0, 1)
    return (1 - weight) * low + weight * (low + 1)
