"""Noise prediction (arXiv 2006.11239): what the U-Net is trained on."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.diffusion.schedules import alphas_bar
from audioldm2_jax.presets import ScheduleConfig


def noised(latents, keys, config: ScheduleConfig):
    """Each clip at a time of its own: (noised latents, noise, timesteps [B]).

    latents: [B, T, F, C] scaled; keys: [B].
    """
    kept = jnp.asarray(alphas_bar(config), jnp.float32)

    def one(key):
        time, noise = jax.random.split(key)
        drawn = jax.random.normal(noise, latents.shape[1:], jnp.float32)
        return jax.random.randint(time, (), 0, config.train_steps), drawn

    timesteps, noise = jax.vmap(one)(keys)
    share = kept[timesteps].reshape(-1, *(1,) * (latents.ndim - 1))
    mixed = jnp.sqrt(share) * latents + jnp.sqrt(1 - share) * noise
    return mixed, noise, timesteps


def noise_error(predicted, noise):
    """Mean squared error of each clip: [B] fp32."""
    square = jnp.square(predicted.astype(jnp.float32) - noise)
    return square.mean(axis=tuple(range(1, square.ndim)))


def min_snr(timesteps, config: ScheduleConfig, gamma: float):
    """Weights of `noise_error` by timestep that bound the signal-to-noise ratio (arXiv 2303.09556).

    min(SNR, gamma) / SNR: nearly clean steps, whose error is largest, weigh less.
    timesteps: [B]; gamma: the bound, 5 in the paper. Returns [B] fp32.
    """
    kept = alphas_bar(config)
    ratio = jnp.asarray(kept / (1 - kept), jnp.float32)[timesteps]
    return jnp.minimum(ratio, gamma) / ratio
