"""Samplers of the probability flow in sigma (arXiv 2206.00364): Euler, ancestral, Heun, LMS."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from audioldm2_jax.diffusion import schedules, sigma_grids
from audioldm2_jax.diffusion.plan import Plan, assemble, basis, denoised, require, supports
from audioldm2_jax.presets import ScheduleConfig


def _grid(config: ScheduleConfig, steps: int, *, log_linear: bool = False, convert: bool = True):
    """(timesteps [E], sigmas [E + 1] with the final zero)."""
    timesteps = schedules.timesteps(config, steps, fractional=True)
    converted = convert and sigma_grids.is_converted(config)
    table = schedules.sigmas_float32(config) if converted else schedules.sigmas(config)
    if log_linear:
        # One more than there are steps, from end to end of training, whatever the timesteps.
        levels = np.exp(np.linspace(np.log(table[-1]), np.log(table[0]), steps + 1))
    else:
        levels = np.interp(timesteps, np.arange(config.train_steps), table)
    if converted:
        levels = sigma_grids.grid(config, steps, float(levels[0]), float(levels[-1]))
        timesteps = sigma_grids.timesteps_of(levels, config)
    return timesteps, np.append(levels, 0.0)


def _scales(config, levels):
    """The input's scale at each sigma, and the initial noise's."""
    top = levels.max()
    initial = np.sqrt(top**2 + 1) if config.timestep_spacing == "leading" else top
    return 1 / np.sqrt(levels**2 + 1), initial


def _slope(config, sigma, x, output):
    """dx / dsigma at x = x0 + sigma epsilon."""
    alpha = 1 / np.sqrt(sigma**2 + 1)
    return denoised(config, alpha, sigma * alpha, alpha * x, output)[1]


def _check_euler(config):
    sigma_grids.check(config)
    require(config, "interpolation_type", "linear", "log_linear")
    require(config, "timestep_type", "discrete", "continuous")


@supports(check=_check_euler)
def euler(config: ScheduleConfig, steps: int) -> Plan:
    """Euler's method (arXiv 2206.00364)."""
    solver = config.solver
    log_linear = solver.interpolation_type == "log_linear"
    timesteps, levels = _grid(config, steps, log_linear=log_linear)
    if solver.final_sigmas_type == "sigma_min":
        levels[-1] = schedules.sigmas(config)[0]
    scales, initial = _scales(config, levels)
    x, _, output, _ = basis(0)
    if solver.timestep_type == "continuous" and config.prediction_type == "v_prediction":
        timesteps = 0.25 * np.log(levels[:-1])  # with log_linear one more than the steps
    rows = [
        [x + (sigma_next - sigma) * _slope(config, sigma, x, output)]
        for _, sigma, sigma_next in zip(timesteps, levels, levels[1:])
    ]
    return assemble(timesteps, rows, scales=scales[: len(rows)], initial=initial)


@supports(predictions=("epsilon", "v_prediction"))
def euler_ancestral(config: ScheduleConfig, steps: int) -> Plan:
    """Euler's method to a lower sigma, then fresh noise up to the next one."""
    timesteps, levels = _grid(config, steps, convert=False)
    scales, initial = _scales(config, levels)
    x, _, output, noise = basis(0)
    rows = []
    for sigma, sigma_next in itertools.pairwise(levels):
        up = np.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
        down = np.sqrt(sigma_next**2 - up**2)
        rows.append([x + (down - sigma) * _slope(config, sigma, x, output) + up * noise])
    return assemble(timesteps, rows, scales=scales[:-1], initial=initial)


@supports(zero_snr=False, unsupported=("clip_sample",), check=sigma_grids.check)
def heun(config: ScheduleConfig, steps: int) -> Plan:
    """Heun's method (arXiv 2206.00364); two evaluations a step but for the last."""
    timesteps, levels = _grid(config, steps)
    scales, initial = _scales(config, levels)
    x, (origin, slope), output, _ = basis(2)
    asked, rows, inputs = [], [], []
    for i in range(len(timesteps)):
        h = levels[i + 1] - levels[i]
        first = _slope(config, levels[i], x, output)
        asked.append(timesteps[i])
        inputs.append(scales[i])
        rows.append([x + h * first, x, first])
        if i + 1 < len(timesteps):
            second = _slope(config, levels[i + 1], x, output)
            asked.append(timesteps[i + 1])
            inputs.append(scales[i + 1])
            rows.append([origin + h * (slope + second) / 2, origin, slope])
    return assemble(asked, rows, scales=inputs, initial=initial)


@supports(zero_snr=False, check=sigma_grids.check)
def lms(config: ScheduleConfig, steps: int) -> Plan:
    """Linear multistep of up to four slopes: the integral of the polynomial through them."""
    if config.solver.use_karras_sigmas:  # for which diffusers' class does not read the ends
        solver = dataclasses.replace(config.solver, sigma_min=None, sigma_max=None)
        config = dataclasses.replace(config, solver=solver)
    timesteps, levels = _grid(config, steps)
    scales, initial = _scales(config, levels)
    x, past, output, _ = basis(3)
    rows = []
    for i in range(len(timesteps)):
        slope = _slope(config, levels[i], x, output)
        slopes = [slope, *past][: min(i + 1, 4)]
        nodes = levels[i - np.arange(len(slopes))]
        weights = _integrals(nodes, levels[i], levels[i + 1])
        rows.append([x + sum(w * s for w, s in zip(weights, slopes)), slope, *past[:2]])
    return assemble(timesteps, rows, scales=scales[:-1], initial=initial)


def _integrals(nodes, start, end) -> list[float]:
    """Integrals from start to end of the Lagrange polynomials of the nodes."""
    weights = []
    for k, node in enumerate(nodes):
        others = np.delete(nodes, k)
        # Centred on the start: the nodes span orders of magnitude.
        power = np.poly1d(np.poly(others - start)).integ()
        weights.append((power(end - start) - power(0.0)) / np.prod(node - others))
    return weights
