"""The noise schedule: betas, alphas_cumprod, sigmas (arXiv 2006.11239, 2305.08891)."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.presets import ScheduleConfig

# Where zero terminal SNR leaves no signal, samplers in sigma take this share of it, as diffusers.
_LEAST_ALPHA = 2.0**-24


def betas(config: ScheduleConfig) -> np.ndarray:
    """Variance that each training step adds, before any rescaling, float64: [train_steps]."""
    kind, n = config.beta_schedule, config.train_steps
    start, end = config.beta_start, config.beta_end
    if config.trained_betas is not None:
        return np.asarray(config.trained_betas, np.float64)
    if kind == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, n) ** 2
    if kind == "linear":
        return np.linspace(start, end, n)
    if kind == "sigmoid":
        return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, n)))
    alpha_bar = _ALPHA_BARS[kind](np.arange(n + 1) / n)
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


def _cosine(t):
    return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2


def _laplace(t):
    log_snr = -0.5 * np.copysign(1, 0.5 - t) * np.log(1 - 2 * np.abs(0.5 - t) + 1e-6)
    return np.sqrt(1 / (1 + np.exp(-log_snr)))


# alpha_bar(t / train_steps) of the schedules that are given by it.
_ALPHA_BARS = {
    "squaredcos_cap_v2": _cosine,
    "laplace": _laplace,
    "exp": lambda t: np.exp(-12.0 * t),
}
BETA_SCHEDULES = ("linear", "scaled_linear", "sigmoid", *_ALPHA_BARS)


def alphas_cumprod(config: ScheduleConfig) -> np.ndarray:
    """Product of 1 - beta at every training step, float64: [train_steps].

    The published schedule is computed in float64. Others are diffusers' float32 tables, whose
    rounding shows where much noise is left.
    """
    exact = config.beta_schedule == "scaled_linear" and config.trained_betas is None
    if exact and not config.rescale_betas_zero_snr:
        return np.cumprod(1.0 - betas(config))
    return _alphas_float32(config).astype(np.float64)


def _alphas_float32(config) -> np.ndarray:
    alphas_cumprod = _cumprod_float32(_betas_float32(config))
    if config.rescale_betas_zero_snr:  # algorithm 1 of arXiv 2305.08891
        root = np.sqrt(alphas_cumprod)
        alpha_bar = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
        alphas = np.append(alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1])
        alphas_cumprod = _cumprod_float32(1 - alphas)
    return alphas_cumprod


def sigmas(config: ScheduleConfig) -> np.ndarray:
    """sqrt((1 - alphas_cumprod) / alphas_cumprod) at every training step: [train_steps]."""
    return _to_sigmas(config, alphas_cumprod(config))


def sigmas_float32(config: ScheduleConfig) -> np.ndarray:
    """`sigmas` in the precision of diffusers' tables, float32: [train_steps].

    Grids that look timesteps up by sigma round them, and agree with diffusers' only from its table.
    """
    return _to_sigmas(config, _alphas_float32(config))


def _to_sigmas(config, alphas_cumprod):
    if config.rescale_betas_zero_snr:
        alphas_cumprod[-1] = _LEAST_ALPHA
    with np.errstate(divide="ignore"):  # readers refuse what leaves no signal
        return np.sqrt((1 - alphas_cumprod) / alphas_cumprod)


def _betas_float32(config: ScheduleConfig) -> np.ndarray:
    if config.trained_betas is None and config.beta_schedule == "linear":
        return _linspace_float32(config.beta_start, config.beta_end, config.train_steps)
    if config.trained_betas is None and config.beta_schedule == "scaled_linear":
        ends = config.beta_start**0.5, config.beta_end**0.5
        return _linspace_float32(*ends, config.train_steps) ** 2
    return betas(config).astype(np.float32)


def _cumprod_float32(betas) -> np.ndarray:
    """alphas_cumprod; torch accumulates in float64 and stores float32."""
    return np.cumprod((1 - betas).astype(np.float64)).astype(np.float32)


def _linspace_float32(start: float, end: float, n: int) -> np.ndarray:
    """torch's: a float32 step, counted from both ends, each product and sum rounded once."""
    first, last = np.float32(start), np.float32(end)
    if n == 1:
        return np.asarray([first])
    step, i = np.float64((last - first) / np.float32(n - 1)), np.arange(n)
    return np.where(i < n // 2, first + step * i, last - step * (n - 1 - i)).astype(np.float32)
