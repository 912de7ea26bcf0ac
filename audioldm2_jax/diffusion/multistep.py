"""Multistep solvers in half the log of the signal to noise ratio: DPM-Solver and UniPC."""

from __future__ import annotations

import dataclasses

import numpy as np

from audioldm2_jax.diffusion import schedules, sigma_grids
from audioldm2_jax.diffusion.plan import Plan, assemble, basis, denoised, require, supports
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

_UNSUPPORTED = ("thresholding", "use_flow_sigmas")
_ORDERS = (1, 2, 3)
# A learned variance would be further channels of the network's output; a fixed one is DDPM's alone.
_FIXED = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")


class _Grid:
    """alpha, sigma and lambda = log(alpha / sigma) [E + 1] at the timesteps [E] and at the end."""

    def __init__(self, timesteps, levels):
        self.timesteps = timesteps.astype(np.int64)  # rounded down, as in diffusers
        self.alpha = 1 / np.sqrt(levels**2 + 1)
        self.sigma = levels * self.alpha
        self.lambda_t = -np.log(levels)

    def denoised(self, config, i, x, output):
        return denoised(config, self.alpha[i], self.sigma[i], x, output)


def _dpm_grid(config: ScheduleConfig, steps: int) -> _Grid:
    solver = config.solver
    converted = sigma_grids.is_converted(config, lu=True)
    table = schedules.sigmas_float32(config) if converted else schedules.sigmas(config)
    last = len(table) - int(np.searchsorted(-np.log(table[::-1]), solver.lambda_min_clipped))
    if last < 1:
        raise InputError(
            f"lambda_min_clipped is {solver.lambda_min_clipped}: no training step is as clean"
        )
    timesteps = schedules.timesteps_but_last(config, steps, last=last)
    levels = table[timesteps]
    if converted:
        levels = sigma_grids.grid(config, steps, float(table[-1]), float(table[0]), lu=True)
        timesteps = sigma_grids.timesteps_of(levels, config)
        rounds = solver.use_karras_sigmas or solver.use_lu_lambdas
        if rounds and config.beta_schedule != "squaredcos_cap_v2":
            timesteps = timesteps.round()
    final = table[0] if solver.final_sigmas_type == "sigma_min" else 0.0
    return _Grid(timesteps, np.append(levels, final).astype(np.float64))


def _check_dpm(config):
    solver = config.solver
    sigma_grids.check(config)
    kinds = ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver")
    require(config, "algorithm_type", *kinds)
    require(config, "solver_order", *_ORDERS)
    if not solver.algorithm_type.endswith("++"):
        where = f" with algorithm_type {solver.algorithm_type!r}"
        require(config, "final_sigmas_type", "sigma_min", where=where)
    if solver.algorithm_type == "sde-dpmsolver":
        require(config, "solver_order", 1, 2, where=" with algorithm_type 'sde-dpmsolver'")
    require(config, "variance_type", *_FIXED)


@supports(unsupported=_UNSUPPORTED, check=_check_dpm)
def dpmsolver(config: ScheduleConfig, steps: int) -> Plan:
    """DPM-Solver, multistep (arXiv 2206.00927, 2211.01095), of the file's order and algorithm."""
    solver, grid = config.solver, _dpm_grid(config, steps)
    evaluations = len(grid.timesteps)
    few = solver.lower_order_final and evaluations < 15
    lower = solver.euler_at_final or few or solver.final_sigmas_type == "zero"
    x, past, output, noise = basis(solver.solver_order - 1)
    rows = []
    for i in range(evaluations):
        x0, eps = grid.denoised(config, i, x, output)
        outputs = [x0 if solver.algorithm_type.endswith("++") else eps, *past]
        order = min(solver.solver_order, i + 1)
        if lower and i == evaluations - 1:
            order = 1
        elif few and i == evaluations - 2:
            order = min(order, 2)
        rows.append([_dpm_step(solver, grid, i, order, x, outputs, noise), *outputs[:-1]])
    return assemble(grid.timesteps, rows)


def _dpm_step(solver, grid, i, order, x, outputs, noise):
    """The sample at grid point i + 1. outputs: x0 or epsilon at i and before, the newest first."""
    h = grid.lambda_t[i + 1] - grid.lambda_t[i]
    if h == 0:
        return x
    weights = _data_weights if solver.algorithm_type.endswith("++") else _noise_weights
    of_x, phi, phi1, phi2, of_noise = weights(grid, i, h, solver.algorithm_type.startswith("sde"))
    after = of_x * x + phi * outputs[0]
    if order > 1:
        r0 = (grid.lambda_t[i] - grid.lambda_t[i - 1]) / h
        change = (outputs[0] - outputs[1]) / r0
    if order == 2 and solver.solver_type == "heun":
        after = after + phi1 * change
    elif order == 2:
        after = after + 0.5 * phi * (outputs[0] - outputs[1]) / r0
    elif order == 3:
        r1 = (grid.lambda_t[i - 1] - grid.lambda_t[i - 2]) / h
        bend = change - (outputs[1] - outputs[2]) / r1
        after = after + phi1 * (change + r0 / (r0 + r1) * bend) + phi2 * bend / (r0 + r1)
    return after + of_noise * noise if of_noise else after


def _data_weights(grid, i, h, sde):
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


def _noise_weights(grid, i, h, sde):
    """Of x, epsilon, its first and second differences, and the noise: DPM-Solver."""
    alpha, sigma = grid.alpha[i + 1], grid.sigma[i + 1] * (2 if sde else 1)
    phi1 = -sigma * (np.expm1(h) / h - 1)
    phi2 = -sigma * ((np.expm1(h) - h) / h**2 - 0.5)
    of_noise = grid.sigma[i + 1] * np.sqrt(np.expm1(2 * h)) if sde else 0.0
    return alpha / grid.alpha[i], -sigma * np.expm1(h), phi1, phi2, of_noise


def _pinned(config: ScheduleConfig, algorithm: str) -> ScheduleConfig:
    solver = dataclasses.replace(config.solver, algorithm_type=algorithm, solver_order=2)
    return dataclasses.replace(config, solver=solver)


def _check_2m(config):
    _check_dpm(_pinned(config, "dpmsolver++"))


@supports(unsupported=_UNSUPPORTED, check=_check_2m)
def dpmpp_2m(config: ScheduleConfig, steps: int) -> Plan:
    """DPM-Solver++ of second order, multistep (arXiv 2211.01095)."""
    return dpmsolver(_pinned(config, "dpmsolver++"), steps)


@supports(unsupported=_UNSUPPORTED, check=_check_2m)
def dpmpp_2m_sde(config: ScheduleConfig, steps: int) -> Plan:
    """SDE-DPM-Solver++(2M) (arXiv 2211.01095): the stochastic reverse process, noise each step."""
    return dpmsolver(_pinned(config, "sde-dpmsolver++"), steps)


def _unipc_grid(config: ScheduleConfig, steps: int) -> _Grid:
    solver = config.solver
    converted = sigma_grids.is_converted(config)
    table = schedules.sigmas_float32(config) if converted else schedules.sigmas(config)
    timesteps = schedules.timesteps_but_last(config, steps, last=config.train_steps)
    levels, lowest = table[timesteps], table[0]
    if converted:
        levels = sigma_grids.grid(config, steps, float(table[-1]), float(table[0]))
        timesteps, lowest = sigma_grids.timesteps_of(levels, config), levels[-1]
        timesteps = timesteps.round() if solver.use_karras_sigmas else timesteps
    final = lowest if solver.final_sigmas_type == "sigma_min" else 0.0
    return _Grid(timesteps, np.append(levels, final).astype(np.float64))


def _check_unipc(config):
    sigma_grids.check(config)
    require(config, "solver_order", *_ORDERS)
    zero = " with final_sigmas_type 'zero'"
    if config.solver.final_sigmas_type == "zero":
        require(config, "predict_x0", True, where=zero)
        require(config, "solver_type", "midpoint", "heun", where=zero)  # which stand for bh2
        if config.solver.solver_order > 1:
            require(config, "lower_order_final", True, where=zero)


@supports(unsupported=_UNSUPPORTED, check=_check_unipc)
def unipc(config: ScheduleConfig, steps: int) -> Plan:
    """UniPC (arXiv 2302.04867), of the file's order: each evaluation also corrects the last step.

    The state: the predicted sample, the corrected one before it, and past outputs.
    """
    solver, grid = config.solver, _unipc_grid(config, steps)
    evaluations = len(grid.timesteps)
    predicted, (corrected, *past), output, _ = basis(solver.solver_order + 1)
    rows, order = [], 0
    for i in range(evaluations):
        now = grid.denoised(config, i, predicted, output)[0 if solver.predict_x0 else 1]
        current = predicted
        if i > 0 and i - 1 not in solver.disable_corrector:
            current = _unipc_step(solver, grid, i, order, corrected, past, now)
        order = min(solver.solver_order, i + 1)
        if solver.lower_order_final:
            order = min(order, evaluations - i)
        after = _unipc_step(solver, grid, i + 1, order, current, [now, *past], None)
        rows.append([after, current, now, *past[:-1]])
    return assemble(grid.timesteps, rows)


def _unipc_step(solver, grid, i, order, x, outputs, corrector):
    """From grid point i - 1 to i. outputs: those at i - 1 and before; corrector: that at i."""
    alpha, sigma, lambda_t = grid.alpha, grid.sigma, grid.lambda_t
    h = lambda_t[i] - lambda_t[i - 1]
    signed = -h if solver.predict_x0 else h
    growth = np.expm1(signed)
    if solver.predict_x0:
        scale, of_x = alpha[i], sigma[i] / sigma[i - 1]
    else:
        scale, of_x = sigma[i], alpha[i] / alpha[i - 1]
    after = of_x * x - scale * growth * outputs[0]
    if h == 0 or (order == 1 and corrector is None):
        return after
    step = signed if solver.solver_type == "bh1" else growth
    ratios = [(lambda_t[i - 1 - k] - lambda_t[i - 1]) / h for k in range(1, order)]
    slopes = [(outputs[k] - outputs[0]) / ratios[k - 1] for k in range(1, order)]
    if corrector is not None:
        ratios, slopes = [*ratios, 1.0], [*slopes, corrector - outputs[0]]
    weights = [0.5] if len(slopes) == 1 else _unipc_weights(ratios, signed, growth, step)
    return after - scale * step * sum(w * s for w, s in zip(weights, slopes))


def _unipc_weights(ratios, signed, growth, step):
    """Solves the order conditions for the points at these ratios of the step."""
    targets, phi, factorial = [], growth / signed - 1, 1
    for k in range(1, len(ratios) + 1):
        targets.append(phi * factorial / step)
        factorial *= k + 1
        phi = phi / signed - 1 / factorial
    if not (np.isfinite(ratios).all() and len(set(ratios)) == len(ratios)):
        raise InputError(
            "the grid repeats a timestep, on which UniPC of this order has no solution"
        )
    powers = np.power.outer(np.asarray(ratios), np.arange(len(ratios))).T
    return np.linalg.solve(powers, targets)
