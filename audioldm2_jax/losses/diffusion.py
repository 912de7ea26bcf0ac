"""What the U-Net is trained on: noise (arXiv 2006.11239), velocity (2202.00512) or the sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.diffusion.schedules import alphas_cumprod
from audioldm2_jax.presets import ScheduleConfig


def add_noise(latents, keys, config: ScheduleConfig):
    """Each clip at a timestep of its own: (noisy latents, target, timesteps [B]).

    latents: [B, T, F, C] scaled; keys: [B]. The target is what config.prediction_type names.
    """
    signal = jnp.asarray(alphas_cumprod(config), jnp.float32)

    def draw(key):
        time, noise = jax.random.split(key)
        drawn = jax.random.normal(noise, latents.shape[1:], jnp.float32)
        return jax.random.randint(time, (), 0, config.train_steps), drawn

    timesteps, noise = jax.vmap(draw)(keys)
    share = signal[timesteps].reshape(-1, *(1,) * (latents.ndim - 1))
    alpha, sigma = jnp.sqrt(share), jnp.sqrt(1 - share)
    targets = {
        "epsilon": lambda: noise,
        "v_prediction": lambda: alpha * noise - sigma * latents,
        "sample": lambda: latents,
    }
    return alpha * latents + sigma * noise, targets[config.prediction_type](), timesteps


def squared_error(prediction, target):
    """Mean squared error of each clip: [B] fp32."""
    square = jnp.square(prediction.astype(jnp.float32) - target)
    return square.mean(axis=tuple(range(1, square.ndim)))


def min_snr(timesteps, config: ScheduleConfig, gamma: float):
    """Weights of `squared_error` by timestep that bound the signal-to-noise ratio.

    The error of the sample weighs min(SNR, gamma) (arXiv 2303.09556), whatever is predicted.
    timesteps: [B]; gamma: the bound, 5 in the paper. Returns [B] fp32.
    """
    share = alphas_cumprod(config)
    snr = share / (1 - share)
    # The error of what is predicted is the sample's times this.
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = {
            # Without any signal the ratio's limit.
            "epsilon": np.where(snr > 0, np.minimum(snr, gamma) / snr, 1.0),
            "v_prediction": np.minimum(snr, gamma) / (snr + 1),
            "sample": np.minimum(snr, gamma),
        }[config.prediction_type]
    return jnp.asarray(weights, jnp.float32)[timesteps]
