"""Samplers over the training steps' own noise levels: DDIM, DDPM, PNDM."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.plan import Plan, assemble, basis, denoised, require, supports
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

_CLIPPING = ("clip_sample", "thresholding")
# For one to four outputs: the divisor and the weights, the newest first.
_ADAMS_BASHFORTH = ((1, 1), (2, 3, -1), (12, 23, -16, 5), (24, 55, -59, 37, -9))


class _Levels:
    """alphas_cumprod by timestep; below the first one the final level of DDIM and PNDM."""

    def __init__(self, config):
        self.table = schedules.alphas_cumprod(config)
        self.final = 1.0 if config.solver.set_alpha_to_one else self.table[0]

    def __call__(self, t: int) -> float:
        if t >= len(self.table):
            raise InputError(f"timestep {t} lies outside the {len(self.table)} of training")
        return self.table[t] if t >= 0 else self.final


@supports(unsupported=_CLIPPING)
def ddim(config: ScheduleConfig, steps: int, *, eta: float = 0.0) -> Plan:
    """Denoising diffusion implicit models (arXiv 2010.02502); eta 1 is fully stochastic."""
    level, timesteps = _Levels(config), schedules.timesteps(config, steps)
    x, _, output, noise = basis(0)
    rows = []
    for t in timesteps:
        alpha_t, alpha_prev = level(t), level(t - config.train_steps // steps)
        x0, eps = denoised(config, alpha_t**0.5, (1 - alpha_t) ** 0.5, x, output)
        variance = (1 - alpha_prev) / (1 - alpha_t) * (1 - alpha_t / alpha_prev)
        deviation = eta * max(variance, 0.0) ** 0.5
        direction = max(1 - alpha_prev - deviation**2, 0.0) ** 0.5 * eps
        rows.append([alpha_prev**0.5 * x0 + direction + deviation * noise])
    return assemble(timesteps, rows)


def _check_variance(config):
    require(config, "variance_type", "fixed_small", "fixed_small_log", "fixed_large")


@supports(unsupported=_CLIPPING, check=_check_variance)
def ddpm(config: ScheduleConfig, steps: int) -> Plan:
    """Ancestral sampling with a fixed variance (arXiv 2006.11239)."""
    level, timesteps = _Levels(config), schedules.timesteps(config, steps)
    x, _, output, noise = basis(0)
    rows = []
    for i, t in enumerate(timesteps):
        alpha_t, alpha_prev = level(t), level(timesteps[i + 1]) if i + 1 < len(timesteps) else 1.0
        ratio = alpha_t / alpha_prev
        x0, _ = denoised(config, alpha_t**0.5, (1 - alpha_t) ** 0.5, x, output)
        mean = alpha_prev**0.5 * (1 - ratio) * x0 + ratio**0.5 * (1 - alpha_prev) * x
        variance = (1 - alpha_prev) / (1 - alpha_t) * (1 - ratio)
        if config.solver.variance_type == "fixed_large":
            variance = (1 - ratio) * (t > 0)
        rows.append([mean / (1 - alpha_t) + variance**0.5 * noise])
    return assemble(timesteps, rows)


@supports(predictions=("epsilon", "v_prediction"), zero_snr=False)
def pndm(config: ScheduleConfig, steps: int) -> Plan:
    """Pseudo numerical methods (arXiv 2202.09778): three Runge-Kutta steps, then linear multistep.

    The start makes it steps + 9 evaluations; with skip_prk_steps it is one evaluation twice.
    """
    timesteps = schedules.timesteps(config, steps)
    if config.solver.skip_prk_steps:
        return _pndm_multistep(config, steps, timesteps)
    if steps < 4:
        raise InputError(f"steps is {steps}: it needs at least 4")
    ratio = config.train_steps // steps
    move = _transfer(config)
    x, (origin, total, e1, e2, e3), eps, _ = basis(5)
    times, rows = [], []
    for i in range(3):
        t, t_prev = timesteps[i], timesteps[i + 1]
        # Evaluations at the step's start, twice in its middle, and at its end.
        middle = t_prev + ratio // 2
        times += [t, middle, middle, t_prev]
        rows += [
            [move(x, eps, t, t - ratio // 2), x, eps / 6, eps, e1, e2],
            [move(origin, eps, t, middle), origin, total + eps / 3, e1, e2, e3],
            [move(origin, eps, t, middle - ratio // 2), origin, total + eps / 3, e1, e2, e3],
            [move(origin, total + eps / 6, t, t_prev), origin, 0 * x, e1, e2, e3],
        ]
    for t in timesteps[3:]:
        times.append(t)
        blend = _adams_bashforth(eps, e1, e2, e3)
        rows.append([move(x, blend, t, t - ratio), origin, total, eps, e1, e2])
    return assemble(times, rows)


def _transfer(config):
    """Equation 9: move(sample, prediction, t, t_prev) by the predicted noise."""
    level = _Levels(config)

    def move(sample, prediction, t, t_prev):
        alpha_t, alpha_prev = level(t), level(t_prev)
        _, eps = denoised(config, alpha_t**0.5, (1 - alpha_t) ** 0.5, sample, prediction)
        weight = alpha_t * (1 - alpha_prev) ** 0.5 + (alpha_t * (1 - alpha_t) * alpha_prev) ** 0.5
        return (alpha_prev / alpha_t) ** 0.5 * sample - (alpha_prev - alpha_t) / weight * eps

    return move


def _adams_bashforth(*outputs):
    """The linear multistep blend of outputs, the newest first."""
    scale, *weights = _ADAMS_BASHFORTH[len(outputs) - 1]
    return sum(w * e for w, e in zip(weights, outputs)) / scale


def _pndm_multistep(config, steps, timesteps) -> Plan:
    """Without the Runge-Kutta start: the second evaluation redoes the first step, as Heun would."""
    ratio = config.train_steps // steps
    move = _transfer(config)
    x, (origin, e1, e2, e3), eps, _ = basis(4)
    times = np.concatenate([timesteps[:1], timesteps[1:2], timesteps[1:]])
    rows = []
    for i, t in enumerate(times):
        if i == 1:
            rows.append([move(origin, (eps + e1) / 2, t + ratio, t), origin, e1, e2, e3])
            continue
        blend = _adams_bashforth(eps, *(e1, e2, e3)[: max(i - 1, 0)])
        rows.append([move(x, blend, t, t - ratio), x if i == 0 else origin, eps, e1, e2])
    return assemble(times, rows)
