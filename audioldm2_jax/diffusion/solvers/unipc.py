"""UniPC, the predictor-corrector in lambda_t (arXiv 2302.04867)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.solvers import sigma_grids
from audioldm2_jax.diffusion.solvers.base import SamplerSchedule, assemble, basis, require, supports
from audioldm2_jax.diffusion.solvers.lambda_grid import ORDERS, LambdaGrid
from audioldm2_jax.diffusion.timesteps import Timesteps, timestep_grid_but_last
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig


def _grid(config: ScheduleConfig, timesteps: Timesteps) -> LambdaGrid:
    solver = config.solver
    converted = sigma_grids.is_converted(config)
    table = schedules.sigmas_float32(config) if converted else schedules.sigmas(config)
    grid = timestep_grid_but_last(config, timesteps, last=config.train_steps)
    sigmas, lowest = table[grid], table[0]
    if converted:
        sigmas = sigma_grids.sigma_grid(config, timesteps, float(table[-1]), float(table[0]))
        grid, lowest = sigma_grids.sigmas_to_timesteps(sigmas, config), sigmas[-1]
        grid = grid.round() if solver.use_karras_sigmas else grid
    final = lowest if solver.final_sigmas_type == "sigma_min" else 0.0
    return LambdaGrid(grid, np.append(sigmas, final))


def _check(config):
    sigma_grids.check(config)
    require(config, "solver_order", *ORDERS)
    zero = " with final_sigmas_type 'zero'"
    if config.solver.final_sigmas_type == "zero":
        require(config, "predict_x0", True, where=zero)
        require(config, "solver_type", "midpoint", "heun", where=zero)  # which stand for bh2
        if config.solver.solver_order > 1:
            require(config, "lower_order_final", True, where=zero)


@supports(unsupported=("thresholding", "use_flow_sigmas"), check=_check)
def unipc(config: ScheduleConfig, timesteps: Timesteps) -> SamplerSchedule:
    """UniPC (arXiv 2302.04867), of the file's order: each evaluation also corrects the last step.

    The state: the predicted sample, the corrected one before it, and past outputs.
    """
    solver, grid = config.solver, _grid(config, timesteps)
    begin, end = timesteps.begin, len(grid.timesteps)
    predicted, (corrected_prev, *past), output, _ = basis(solver.solver_order + 1)
    rows, order = [], 0
    for i in range(begin, end):
        current = grid.denoised(config, i, predicted, output)[0 if solver.predict_x0 else 1]
        corrected = predicted
        if i > begin and i - 1 not in solver.disable_corrector:
            corrected = _step(solver, grid, i, order, corrected_prev, past, current)
        order = min(solver.solver_order, i - begin + 1)
        if solver.lower_order_final:
            order = min(order, end - i)
        x_next = _step(solver, grid, i + 1, order, corrected, [current, *past], None)
        rows.append([x_next, corrected, current, *past[:-1]])
    run = slice(begin, end)
    levels = grid.alpha[run], grid.sigma[run]
    return assemble(config, grid.timesteps[run], rows, *levels, init_noise_sigma=1.0)


def _step(solver, grid, i, order, x, outputs, current):
    """From grid point i - 1 to i. outputs: at i - 1 and before; current: at i, to correct."""
    alpha, sigma, lambda_t = grid.alpha, grid.sigma, grid.lambda_t
    h = lambda_t[i] - lambda_t[i - 1]
    hh = -h if solver.predict_x0 else h
    h_phi_1 = np.expm1(hh)
    if solver.predict_x0:
        scale, of_x = alpha[i], sigma[i] / sigma[i - 1]
    else:
        scale, of_x = sigma[i], alpha[i] / alpha[i - 1]
    x_next = of_x * x - scale * h_phi_1 * outputs[0]
    if h == 0 or (order == 1 and current is None):
        return x_next
    b_h = hh if solver.solver_type == "bh1" else h_phi_1
    rks = [(lambda_t[i - 1 - k] - lambda_t[i - 1]) / h for k in range(1, order)]
    d1s = [(outputs[k] - outputs[0]) / rks[k - 1] for k in range(1, order)]
    if current is not None:
        rks, d1s = [*rks, 1.0], [*d1s, current - outputs[0]]
    rhos = [0.5] if len(d1s) == 1 else _rhos(rks, hh, h_phi_1, b_h)
    return x_next - scale * b_h * sum(rho * d1 for rho, d1 in zip(rhos, d1s))


def _rhos(rks, hh, h_phi_1, b_h):
    """Solves the order conditions R rho = b for the points at these ratios of the step."""
    b, h_phi_k, factorial = [], h_phi_1 / hh - 1, 1
    for k in range(1, len(rks) + 1):
        b.append(h_phi_k * factorial / b_h)
        factorial *= k + 1
        h_phi_k = h_phi_k / hh - 1 / factorial
    if not (np.isfinite(rks).all() and len(set(rks)) == len(rks)):
        raise InputError(
            "the grid repeats a timestep, on which UniPC of this order has no solution"
        )
    powers = np.power.outer(np.asarray(rks), np.arange(len(rks))).T
    return np.linalg.solve(powers, b)
