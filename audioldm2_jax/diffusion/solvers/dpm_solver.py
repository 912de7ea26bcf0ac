"""DPM-Solver and DPM-Solver++, multistep (arXiv 2206.00927, 2211.01095), in lambda_t."""

from __future__ import annotations

import dataclasses

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.solvers import sigma_grids
from audioldm2_jax.diffusion.solvers.base import SamplerSchedule, assemble, basis, require, supports
from audioldm2_jax.diffusion.solvers.lambda_grid import ORDERS, LambdaGrid
from audioldm2_jax.diffusion.timesteps import Timesteps, timestep_grid_but_last
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

_UNSUPPORTED = ("thresholding", "use_flow_sigmas")
# A learned variance would be further channels of the network's output; a fixed one is DDPM's alone.
_FIXED = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")


def _grid(config: ScheduleConfig, timesteps: Timesteps) -> LambdaGrid:
    solver = config.solver
    converted = sigma_grids.is_converted(config, lu=True)
    table = schedules.sigmas_float32(config) if converted else schedules.sigmas(config)
    last = len(table) - int(np.searchsorted(-np.log(table[::-1]), solver.lambda_min_clipped))
    if last < 1:
        raise InputError(
            f"lambda_min_clipped is {solver.lambda_min_clipped}: no training step is as clean"
        )
    grid = timestep_grid_but_last(config, timesteps, last=last)
    sigmas = table[grid]
    if converted:
        ends = float(table[-1]), float(table[0])
        sigmas = sigma_grids.sigma_grid(config, timesteps, *ends, lu=True)
        grid = sigma_grids.sigmas_to_timesteps(sigmas, config)
        rounds = solver.use_karras_sigmas or solver.use_lu_lambdas
        if rounds and config.beta_schedule != "squaredcos_cap_v2":
            grid = grid.round()
    final = table[0] if solver.final_sigmas_type == "sigma_min" else 0.0
    return LambdaGrid(grid, np.append(sigmas, final))


def _check_dpm(config):
    solver = config.solver
    sigma_grids.check(config)
    kinds = ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver")
    require(config, "algorithm_type", *kinds)
    require(config, "solver_order", *ORDERS)
    if not solver.algorithm_type.endswith("++"):
        where = f" with algorithm_type {solver.algorithm_type!r}"
        require(config, "final_sigmas_type", "sigma_min", where=where)
    if solver.algorithm_type == "sde-dpmsolver":
        require(config, "solver_order", 1, 2, where=" with algorithm_type 'sde-dpmsolver'")
    require(config, "variance_type", *_FIXED)


@supports(unsupported=_UNSUPPORTED, check=_check_dpm)
def dpmsolver(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """DPM-Solver, multistep (arXiv 2206.00927, 2211.01095), of the file's order and algorithm."""
    solver, grid = config.solver, _grid(config, timesteps)
    begin, end = timesteps.begin, len(grid.timesteps)
    few = solver.lower_order_final and end < 15
    lower = solver.euler_at_final or few or solver.final_sigmas_type == "zero"
    x, past, output, noise = basis(solver.solver_order - 1)
    rows = []
    for i in range(begin, end):
        x0, eps = grid.denoised(config, i, x, output)
        outputs = [x0 if solver.algorithm_type.endswith("++") else eps, *past]
        order = min(solver.solver_order, i - begin + 1)
        if lower and i == end - 1:
            order = 1
        elif few and i == end - 2:
            order = min(order, 2)
        rows.append([_step(solver, grid, i, order, x, outputs, noise), *outputs[:-1]])
    run = slice(begin, end)
    levels = grid.alpha[run], grid.sigma[run]
    return assemble(config, grid.timesteps[run], rows, *levels, init_noise_sigma=1.0)


def _step(solver, grid, i, order, x, outputs, noise):
    """The sample at grid point i + 1. outputs: x0 or eps at i and before, the newest first."""
    h = grid.lambda_t[i + 1] - grid.lambda_t[i]
    if h == 0:
        return x
    data, sde = solver.algorithm_type.endswith("++"), solver.algorithm_type.startswith("sde")
    coefficients = _data_coefficients if data else _noise_coefficients
    of_x, phi, phi1, phi2, of_noise = coefficients(grid, i, h, sde)
    x_next = of_x * x + phi * outputs[0]
    if order > 1:
        r0 = (grid.lambda_t[i] - grid.lambda_t[i - 1]) / h
        d1_0 = (outputs[0] - outputs[1]) / r0
    if order == 2 and solver.solver_type == "heun":
        x_next = x_next + phi1 * d1_0
    elif order == 2:
        x_next = x_next + 0.5 * phi * (outputs[0] - outputs[1]) / r0
    elif order == 3:
        r1 = (grid.lambda_t[i - 1] - grid.lambda_t[i - 2]) / h
        d2 = d1_0 - (outputs[1] - outputs[2]) / r1
        x_next = x_next + phi1 * (d1_0 + r0 / (r0 + r1) * d2) + phi2 * d2 / (r0 + r1)
    return x_next + of_noise * noise if of_noise else x_next


def _data_coefficients(grid, i, h, sde):
    """Of x, x0, its first and second differences, and the noise: DPM-Solver++."""
    alpha, sigma = grid.alpha, grid.sigma
    decay = np.exp(-h) if sde else 1.0  # of the noise, beside what the level itself takes
    of_x = sigma[i + 1] / sigma[i] * decay
    phi = alpha[i + 1] - alpha[i] * decay * sigma[i + 1] / sigma[i]
    if np.isinf(h):
        return of_x, phi, 0.0, 0.0, 0.0
    full = 2 * h if sde else h
    phi1 = alpha[i + 1] * (np.expm1(-full) / full + 1)
    # The sign of the half is diffusers', with whose SDE solver of third order this agrees.
    phi2 = -alpha[i + 1] * ((np.expm1(-full) + full) / full**2 + (0.5 if sde else -0.5))
    return of_x, phi, phi1, phi2, sigma[i + 1] * np.sqrt(-np.expm1(-2 * h)) if sde else 0.0


def _noise_coefficients(grid, i, h, sde):
    """Of x, eps, its first and second differences, and the noise: DPM-Solver."""
    alpha, sigma = grid.alpha[i + 1], grid.sigma[i + 1] * (2 if sde else 1)
    phi1 = -sigma * (np.expm1(h) / h - 1)
    phi2 = -sigma * ((np.expm1(h) - h) / h**2 - 0.5)
    of_noise = grid.sigma[i + 1] * np.sqrt(np.expm1(2 * h)) if sde else 0.0
    return alpha / grid.alpha[i], -sigma * np.expm1(h), phi1, phi2, of_noise


def _second_order(config: ScheduleConfig, algorithm: str) -> ScheduleConfig:
    solver = dataclasses.replace(config.solver, algorithm_type=algorithm, solver_order=2)
    return dataclasses.replace(config, solver=solver)


def _check_2m(config):
    _check_dpm(_second_order(config, "dpmsolver++"))


@supports(unsupported=_UNSUPPORTED, check=_check_2m)
def dpmpp_2m(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """DPM-Solver++ of second order, multistep (arXiv 2211.01095)."""
    return dpmsolver(_second_order(config, "dpmsolver++"), timesteps)


@supports(unsupported=_UNSUPPORTED, check=_check_2m)
def dpmpp_2m_sde(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """SDE-DPM-Solver++(2M) (arXiv 2211.01095): the stochastic reverse process, noise each step."""
    return dpmsolver(_second_order(config, "sde-dpmsolver++"), timesteps)
