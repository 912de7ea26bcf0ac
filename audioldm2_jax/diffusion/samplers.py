"""Samplers, all in one scan.

Every sampler here is linear in its state and in what the network predicts, so a sampler is a
*plan*: for each evaluation of the network a small matrix that maps (state, prediction, noise) to
the next state. The plans are built on the host in float64 by writing each method's formulas over
coefficient vectors; the device runs `sample`, whatever the method. References: the papers named
below, and diffusers' schedulers created from the published DDIM configuration, with which they
agree.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sampler does, for E evaluations of the network and a state of M arrays.

    timesteps: [E] at which the network is asked; scales: [E] by which its input is multiplied;
    matrices: [E, M, M + 2] from (state, prediction, noise) to the next state, whose first entry is
    the sample; initial: scale of the initial unit noise; stochastic: whether noise is drawn.
    """

    timesteps: np.ndarray
    scales: np.ndarray
    matrices: np.ndarray
    initial: float
    stochastic: bool


jax.tree_util.register_dataclass(
    Plan, ["timesteps", "scales", "matrices", "initial"], ["stochastic"]
)


def sample(denoise: Callable, x, plan: Plan, noise: Callable | None = None) -> jax.Array:
    """Runs a plan. x: [B, T, F, C] unit noise -> latents, both fp32.

    denoise(x, index) predicts the noise at evaluation `index`; noise(index) draws unit noise like
    x, needed if the plan is stochastic.
    """

    def step(state, now):
        index, scale, matrix = now
        prediction = denoise(state[0] * scale, index)
        return update(state, prediction, matrix, noise(index) if plan.stochastic else None), None

    indices = jnp.arange(plan.timesteps.shape[0])
    rows = (indices, jnp.asarray(plan.scales), jnp.asarray(plan.matrices))
    return jax.lax.scan(step, start(x, plan), rows)[0][0]


def start(x, plan: Plan) -> jax.Array:
    """The state before the first evaluation: the scaled sample and zeros. [M, B, T, F, C]"""
    x = x.astype(jnp.float32)
    return jnp.stack([x * plan.initial] + [jnp.zeros_like(x)] * (plan.matrices.shape[1] - 1))


def update(state, prediction, matrix, noise=None) -> jax.Array:
    """The state after an evaluation. matrix: [M, M + 2], noise: like the sample, or None."""
    parts = [state, prediction.astype(jnp.float32)[None]]
    if noise is None:
        matrix = matrix[:, :-1]
    else:
        parts.append(noise[None])
    # An exact product: the coefficients span orders of magnitude.
    return jnp.einsum(
        "mk,kbtfc->mbtfc", matrix, jnp.concatenate(parts), precision=jax.lax.Precision.HIGHEST
    )


def _basis(memory: int):
    """Coefficient vectors of the sample, the `memory` further states, the prediction, the noise."""
    unit = np.eye(memory + 3)
    return unit[0], list(unit[1:-2]), unit[-2], unit[-1]


def _plan(timesteps, rows, *, scales=None, initial=1.0) -> Plan:
    matrices = np.asarray([np.stack(row) for row in rows], np.float32)
    scales = np.ones(len(timesteps)) if scales is None else scales
    return Plan(
        np.asarray(timesteps, np.float32),
        np.asarray(scales, np.float32),
        matrices,
        np.float32(initial),
        bool(matrices[..., -1].any()),
    )


def ddim(config: ScheduleConfig, steps: int, eta: float = 0.0) -> Plan:
    """Denoising diffusion implicit models (arXiv 2010.02502); eta 1 is fully stochastic."""
    kept, times = schedules.alphas_bar(config), schedules.leading(config, steps)
    x, _, eps, noise = _basis(0)
    rows = []
    for t in times:
        now, after = kept[t], kept[max(t - config.train_steps // steps, 0)]
        clean = (x - (1 - now) ** 0.5 * eps) / now**0.5
        deviation = eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5
        direction = (1 - after - deviation**2) ** 0.5 * eps
        rows.append([after**0.5 * clean + direction + deviation * noise])
    return _plan(times, rows)


def ddpm(config: ScheduleConfig, steps: int) -> Plan:
    """Ancestral sampling with the posterior's variance (arXiv 2006.11239)."""
    kept, times = schedules.alphas_bar(config), schedules.leading(config, steps)
    x, _, eps, noise = _basis(0)
    rows = []
    for i, t in enumerate(times):
        now, after = kept[t], kept[times[i + 1]] if i + 1 < steps else 1.0
        ratio = now / after
        clean = (x - (1 - now) ** 0.5 * eps) / now**0.5
        mean = (after**0.5 * (1 - ratio) * clean + ratio**0.5 * (1 - after) * x) / (1 - now)
        rows.append([mean + ((1 - after) / (1 - now) * (1 - ratio)) ** 0.5 * noise])
    return _plan(times, rows)


def pndm(config: ScheduleConfig, steps: int) -> Plan:
    """Pseudo numerical methods (arXiv 2202.09778): three Runge-Kutta steps, then linear multistep.

    The start makes it steps + 9 evaluations.
    """
    if steps < 4:
        raise InputError(f"steps is {steps}: sampler pndm needs at least 4")
    kept, grid = schedules.alphas_bar(config), schedules.leading(config, steps)
    ratio = config.train_steps // steps
    x, (origin, total, e1, e2, e3), eps, _ = _basis(5)

    def move(sample, prediction, t, to):
        """Equation 9: from t to `to`, by the predicted noise."""
        now, after = kept[t], kept[max(to, 0)]
        weight = now * (1 - after) ** 0.5 + (now * (1 - now) * after) ** 0.5
        return (after / now) ** 0.5 * sample - (after - now) / weight * prediction

    times, rows = [], []
    for i in range(3):
        t, after = grid[i], grid[i + 1]
        # Evaluations at the step's start, twice in its middle, and at its end.
        times += [t, after + ratio // 2, after + ratio // 2, after]
        half = t - ratio // 2
        middle = after + ratio // 2
        rows += [
            [move(x, eps, t, half), x, eps / 6, eps, e1, e2],
            [move(origin, eps, t, middle), origin, total + eps / 3, e1, e2, e3],
            [move(origin, eps, t, middle - ratio // 2), origin, total + eps / 3, e1, e2, e3],
            [move(origin, total + eps / 6, t, after), origin, 0 * x, e1, e2, e3],
        ]
    for t in grid[3:]:
        times.append(t)
        blend = (55 * eps - 59 * e1 + 37 * e2 - 9 * e3) / 24
        rows.append([move(x, blend, t, t - ratio), origin, total, eps, e1, e2])
    return _plan(times, rows)


def _sigma_grid(config, times):
    """Sigmas at the timesteps with the final zero, the input scales, and the initial one."""
    levels = np.append(schedules.sigmas(config)[times], 0.0)
    return levels, 1 / np.sqrt(levels[:-1] ** 2 + 1), np.sqrt(levels[0] ** 2 + 1)


def euler(config: ScheduleConfig, steps: int) -> Plan:
    """Euler's method on the probability flow in sigma (arXiv 2206.00364)."""
    times = schedules.leading(config, steps)
    levels, scales, initial = _sigma_grid(config, times)
    x, _, eps, _ = _basis(0)
    rows = [[x + (after - now) * eps] for now, after in zip(levels, levels[1:])]
    return _plan(times, rows, scales=scales, initial=initial)


def heun(config: ScheduleConfig, steps: int) -> Plan:
    """Heun's method in sigma (arXiv 2206.00364); two evaluations a step but for the last."""
    times = schedules.leading(config, steps)
    levels, scales, initial = _sigma_grid(config, times)
    x, (origin, slope), eps, _ = _basis(2)
    asked, rows, inputs = [], [], []
    for i in range(steps):
        width = levels[i + 1] - levels[i]
        asked.append(times[i])
        inputs.append(scales[i])
        rows.append([x + width * eps, x, eps])
        if i + 1 < steps:
            asked.append(times[i + 1])
            inputs.append(scales[i + 1])
            rows.append([origin + width * (slope + eps) / 2, origin, slope])
    return _plan(asked, rows, scales=inputs, initial=initial)


def _log_snr_grid(config, times):
    """Signal, noise and half log-SNR at the timesteps and at the clean end."""
    levels = np.append(schedules.sigmas(config)[times], 0.0)
    signal = 1 / np.sqrt(levels**2 + 1)
    with np.errstate(divide="ignore"):
        return signal, levels * signal, -np.log(levels)


def dpmpp_2m(config: ScheduleConfig, steps: int, *, sde: bool = False) -> Plan:
    """DPM-Solver++ of second order, multistep (arXiv 2211.01095); sde: with fresh noise each step.

    The latter is SDE-DPM-Solver++(2M) of the same paper: it solves the stochastic reverse process.
    """
    times = schedules.leading_but_last(config, steps)
    signal, noise, half_snr = _log_snr_grid(config, times)
    x, (before,), eps, fresh = _basis(1)
    rows = []
    for i in range(steps):
        clean = (x - noise[i] * eps) / signal[i]
        width = half_snr[i + 1] - half_snr[i]
        kept = np.exp(-width) if sde else 1.0  # of the noise, beside what the level itself takes
        shrink = signal[i + 1] - signal[i] * kept * noise[i + 1] / noise[i]
        after = noise[i + 1] / noise[i] * kept * x + shrink * clean
        if 0 < i < steps - 1:
            ratio = (half_snr[i] - half_snr[i - 1]) / width
            after = after + 0.5 * shrink * (clean - before) / ratio
        if sde:
            after = after + noise[i + 1] * np.sqrt(-np.expm1(-2 * width)) * fresh
        rows.append([after, clean])
    return _plan(times, rows)


def unipc(config: ScheduleConfig, steps: int) -> Plan:
    """UniPC of second order, B2 (arXiv 2302.04867): each evaluation also corrects the last step."""
    times = schedules.leading_but_last(config, steps)
    signal, noise, half_snr = _log_snr_grid(config, times)
    # State: the predicted sample, the corrected one before it, the last two clean predictions.
    predicted, (corrected, c1, c2), eps, _ = _basis(3)

    def towards(i, sample, clean):
        """First-order step to grid point i, and the size of its correction."""
        shrink = signal[i] * -np.expm1(half_snr[i - 1] - half_snr[i])
        return noise[i] / noise[i - 1] * sample + shrink * clean, shrink

    rows = []
    for i in range(steps):
        clean = (predicted - noise[i] * eps) / signal[i]
        current = predicted
        if i > 0:
            current, shrink = towards(i, corrected, c1)
            order = min(2, i, steps - i + 1)
            if order == 1:
                current = current + shrink * 0.5 * (clean - c1)
            else:
                weights, ratio = _unipc_weights(half_snr, i)
                past = (c2 - c1) / ratio
                current = current + shrink * (weights[0] * past + weights[1] * (clean - c1))
        after, shrink = towards(i + 1, current, clean)
        if 0 < i < steps - 1:
            ratio = (half_snr[i - 1] - half_snr[i]) / (half_snr[i + 1] - half_snr[i])
            after = after + shrink * 0.5 * (c1 - clean) / ratio
        rows.append([after, current, clean, c1])
    return _plan(times, rows)


def _unipc_weights(half_snr, i):
    """The corrector's weights at grid point i, and the relative place of the point before."""
    width = half_snr[i] - half_snr[i - 1]
    ratio = (half_snr[i - 2] - half_snr[i - 1]) / width
    growth = np.expm1(-width)
    phi = growth / -width - 1
    targets = [phi / growth, (phi / -width - 0.5) * 2 / growth]
    return np.linalg.solve([[1.0, 1.0], [ratio, 1.0]], targets), ratio


SAMPLERS: dict[str, Callable[..., Plan]] = {
    "ddim": ddim,
    "ddpm": ddpm,
    "pndm": pndm,
    "euler": euler,
    "heun": heun,
    "dpm++2m": dpmpp_2m,
    "dpm++2m-sde": functools.partial(dpmpp_2m, sde=True),
    "unipc": unipc,
}


def make_plan(name: str, config: ScheduleConfig, steps: int, *, eta: float = 0.0) -> Plan:
    """The plan of a sampler by name. Raises InputError for what it cannot do."""
    if name not in SAMPLERS:
        raise InputError(f"unknown sampler {name!r}: choose one of {' '.join(SAMPLERS)}")
    whole = isinstance(steps, (int, np.integer)) and not isinstance(steps, bool)
    if not whole or not 1 <= steps <= config.train_steps:
        raise InputError(f"steps is {steps}: it must be an integer from 1 to {config.train_steps}")
    if not 0.0 <= eta <= 1.0:
        raise InputError(f"eta is {eta}: it must lie between 0 and 1")
    if eta and name != "ddim":
        raise InputError(f"eta is {eta}, but only the sampler ddim uses it (asked: {name})")
    return ddim(config, steps, eta) if name == "ddim" else SAMPLERS[name](config, int(steps))
