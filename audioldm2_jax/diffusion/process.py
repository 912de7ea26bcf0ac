"""The forward process q(x_t | x0) (arXiv 2006.11239, eq. 4) and what the network learns of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.diffusion.schedules import alphas_cumprod
from audioldm2_jax.presets import ScheduleConfig


def add_noise(x0, noise, timesteps, config: ScheduleConfig) -> jax.Array:
    """x_t = sqrt(alphas_cumprod_t) x0 + sqrt(1 - alphas_cumprod_t) noise.

    x0, noise: [B, T, F, C]; timesteps: [B] int.
    """
    alpha, sigma = _alpha_sigma(timesteps, x0.ndim, config)
    return alpha * x0 + sigma * noise


def prediction_target(x0, noise, timesteps, config: ScheduleConfig) -> jax.Array:
    """What config.prediction_type names: the noise, the velocity (arXiv 2202.00512), or x0.

    x0, noise: [B, T, F, C]; timesteps: [B] int.
    """
    if config.prediction_type == "epsilon":
        return noise
    if config.prediction_type == "sample":
        return x0
    alpha, sigma = _alpha_sigma(timesteps, x0.ndim, config)
    return alpha * noise - sigma * x0


def diffuse(x0, keys, config: ScheduleConfig) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A training example of each clip at a random timestep: (x_t, target, timesteps [B]).

    x0: [B, T, F, C] scaled latents; keys: [B], one for each clip.
    """

    def draw(key):
        time_key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, x0.shape[1:], jnp.float32)
        return jax.random.randint(time_key, (), 0, config.train_steps), noise

    timesteps, noise = jax.vmap(draw)(keys)
    x_t = add_noise(x0, noise, timesteps, config)
    return x_t, prediction_target(x0, noise, timesteps, config), timesteps


def _alpha_sigma(timesteps, ndim: int, config: ScheduleConfig):
    """sqrt(alphas_cumprod_t) and sqrt(1 - alphas_cumprod_t): [B, 1, ...] fp32."""
    table = jnp.asarray(alphas_cumprod(config), jnp.float32)
    share = table[timesteps].reshape(-1, *(1,) * (ndim - 1))
    return jnp.sqrt(share), jnp.sqrt(1 - share)
