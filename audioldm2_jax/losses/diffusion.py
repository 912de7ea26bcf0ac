"""The denoising loss and its weights by timestep (arXiv 2006.11239, 2303.09556)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.diffusion.schedules import alphas_cumprod
from audioldm2_jax.presets import ScheduleConfig


def squared_error(prediction, target) -> jax.Array:
    """Mean squared error of each clip. prediction, target: [B, ...] -> [B] fp32."""
    square = jnp.square(prediction.astype(jnp.float32) - target)
    return square.mean(axis=tuple(range(1, square.ndim)))


def min_snr_weight(timesteps, config: ScheduleConfig, gamma: float) -> jax.Array:
    """Weights of `squared_error` by which the error of x0 weighs min(SNR, gamma).

    timesteps: [B] int; gamma: 5 in arXiv 2303.09556. Returns [B] fp32.
    """
    share = alphas_cumprod(config)
    snr = share / (1 - share)
    # The squared error of each prediction is that of x0 times a function of the SNR.
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = {
            # At zero SNR the limit is taken.
            "epsilon": np.where(snr > 0, np.minimum(snr, gamma) / snr, 1.0),
            "v_prediction": np.minimum(snr, gamma) / (snr + 1),
            "sample": np.minimum(snr, gamma),
        }[config.prediction_type]
    return jnp.asarray(weights, jnp.float32)[timesteps]
