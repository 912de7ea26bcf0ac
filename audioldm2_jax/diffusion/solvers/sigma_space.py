"""Solvers of the probability flow dx / dsigma (arXiv 2206.00364), x = x0 + sigma noise.

Euler, Euler ancestral, Heun and linear multistep.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.solvers import sigma_grids
from audioldm2_jax.diffusion.solvers.base import (
    SamplerSchedule,
    assemble,
    basis,
    denoised,
    require,
    supports,
)
from audioldm2_jax.diffusion.timesteps import Timesteps, timestep_grid
from audioldm2_jax.presets import ScheduleConfig


def _grid(config, timesteps: Timesteps, *, log_linear: bool = False, convert: bool = True):
    """(timesteps [E], sigmas [E + 1], the last one zero) of the whole grid."""
    grid = timestep_grid(config, timesteps, fractional=True)
    converted = convert and sigma_grids.is_converted(config)
    table = schedules.sigmas_float32(config) if converted else schedules.sigmas(config)
    if log_linear:
        sigma_grids.refuse_values(timesteps, "interpolation_type is 'log_linear'")
        # One more than there are steps, from end to end of training, whatever the timesteps.
        ends = np.log(table[-1]), np.log(table[0])
        sigmas = np.exp(np.linspace(*ends, timesteps.total + 1))
    else:
        sigmas = np.interp(grid, np.arange(config.train_steps), table)
    if converted:
        sigmas = sigma_grids.sigma_grid(config, timesteps, float(sigmas[0]), float(sigmas[-1]))
        grid = sigma_grids.sigmas_to_timesteps(sigmas, config)
    return grid, np.append(sigmas, 0.0)


def _assemble(config, timesteps: Timesteps, grid, rows, sigmas, all_sigmas) -> SamplerSchedule:
    """grid, rows, sigmas: of each evaluation that runs; all_sigmas: of the whole grid."""
    largest = all_sigmas.max()
    if config.timestep_spacing == "leading":
        largest = np.sqrt(largest**2 + 1)
    sigmas = np.asarray(sigmas)
    return assemble(
        config,
        grid,
        rows,
        np.ones(len(rows)),
        sigmas,
        input_scales=1 / np.sqrt(sigmas**2 + 1),
        init_noise_sigma=1.0 if timesteps.begin else largest,
    )


def _slope(config, sigma, x, output):
    """dx / dsigma, which is eps."""
    alpha = 1 / np.sqrt(sigma**2 + 1)
    return denoised(config, alpha, sigma * alpha, alpha * x, output)[1]


def _check_euler(config):
    sigma_grids.check(config)
    require(config, "interpolation_type", "linear", "log_linear")
    require(config, "timestep_type", "discrete", "continuous")


@supports(check=_check_euler)
def euler(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """Euler's method (arXiv 2206.00364)."""
    solver = config.solver
    log_linear = solver.interpolation_type == "log_linear"
    grid, sigmas = _grid(config, timesteps, log_linear=log_linear)
    if solver.final_sigmas_type == "sigma_min":
        sigmas[-1] = schedules.sigmas(config)[0]
    x, _, output, _ = basis(0)
    if solver.timestep_type == "continuous" and config.prediction_type == "v_prediction":
        sigma_grids.refuse_values(timesteps, "timestep_type is 'continuous'")
        grid = 0.25 * np.log(sigmas[:-1])  # with log_linear one more than the steps
    evaluations = range(timesteps.begin, min(len(grid), len(sigmas) - 1))
    rows = [
        [x + (sigmas[i + 1] - sigmas[i]) * _slope(config, sigmas[i], x, output)]
        for i in evaluations
    ]
    run = slice(timesteps.begin, evaluations.stop)
    return _assemble(config, timesteps, grid[run], rows, sigmas[run], sigmas)


@supports(predictions=("epsilon", "v_prediction"))
def euler_ancestral(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """Euler's method to a lower sigma, then fresh noise up to the next one."""
    grid, sigmas = _grid(config, timesteps, convert=False)
    run = slice(timesteps.begin, len(grid))
    x, _, output, noise = basis(0)
    rows = []
    for sigma, sigma_next in zip(sigmas[run], sigmas[run.start + 1 :]):
        sigma_up = np.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
        sigma_down = np.sqrt(sigma_next**2 - sigma_up**2)
        slope = _slope(config, sigma, x, output)
        rows.append([x + (sigma_down - sigma) * slope + sigma_up * noise])
    return _assemble(config, timesteps, grid[run], rows, sigmas[run], sigmas)


@supports(zero_snr=False, unsupported=("clip_sample",), check=sigma_grids.check)
def heun(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """Heun's method (arXiv 2206.00364); two evaluations a step but for the last."""
    grid, sigmas = _grid(config, timesteps)
    x, (origin, first_slope), output, _ = basis(2)
    evaluations, rows = [], []
    for i in range(timesteps.begin, len(grid)):
        h = sigmas[i + 1] - sigmas[i]
        slope = _slope(config, sigmas[i], x, output)
        evaluations.append(i)
        rows.append([x + h * slope, x, slope])
        if i + 1 < len(grid):
            slope = _slope(config, sigmas[i + 1], x, output)
            evaluations.append(i + 1)
            rows.append([origin + h * (first_slope + slope) / 2, origin, first_slope])
    return _assemble(config, timesteps, grid[evaluations], rows, sigmas[evaluations], sigmas)


@supports(zero_snr=False, check=sigma_grids.check)
def lms(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """Linear multistep of up to four slopes: the integral of the polynomial through them."""
    if config.solver.use_karras_sigmas:  # for which diffusers' class does not read the ends
        solver = dataclasses.replace(config.solver, sigma_min=None, sigma_max=None)
        config = dataclasses.replace(config, solver=solver)
    grid, sigmas = _grid(config, timesteps)
    run = slice(timesteps.begin, len(grid))
    x, past, output, _ = basis(3)
    rows = []
    for i in range(run.start, run.stop):
        slope = _slope(config, sigmas[i], x, output)
        slopes = [slope, *past][: min(i - run.start + 1, 4)]
        nodes = sigmas[i - np.arange(len(slopes))]
        weights = _lagrange_integrals(nodes, sigmas[i], sigmas[i + 1])
        rows.append([x + sum(w * s for w, s in zip(weights, slopes)), slope, *past[:2]])
    return _assemble(config, timesteps, grid[run], rows, sigmas[run], sigmas)


def _lagrange_integrals(nodes, start, end) -> list[float]:
    """Integrals from start to end of the Lagrange polynomials of the nodes."""
    weights = []
    for k, node in enumerate(nodes):
        others = np.delete(nodes, k)
        # Centred on the start: the nodes span orders of magnitude.
        power = np.poly1d(np.poly(others - start)).integ()
        weights.append((power(end - start) - power(0.0)) / np.prod(node - others))
    return weights
