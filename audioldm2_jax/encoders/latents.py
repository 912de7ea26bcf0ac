"""Between waveforms, mel spectrograms and the VAE's latents."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import MelConfig, log_mel, mel_config
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.models.vocoding import vocode
from audioldm2_jax.presets import HiFiGANConfig, ModelConfig, VAEConfig


def mel_front_end(config: ModelConfig) -> MelConfig:
    """The mel that the model's VAE encodes and its vocoder inverts."""
    return mel_config(config.vocoder)


def check_length(config: ModelConfig, seconds: float) -> None:
    """Raises InputError if the VAE takes no clips of that length."""
    front_end, factor = mel_front_end(config), config.vae.factor
    frames = int(seconds * front_end.sample_rate) // front_end.hop
    if frames % factor or not frames:
        step = factor * front_end.hop / front_end.sample_rate
        near = max(1, round(seconds / step)) * step
        raise InputError(f"{seconds:g} s: the VAE takes multiples of {step:g} s, such as {near:g}")


def encode_posterior(
    params: dict, mel, config: VAEConfig, dtype: Any = jnp.float32
) -> tuple[jax.Array, jax.Array]:
    """mel: [B, T, F] -> the posterior's (mean, log variance), each [B, T, F, C], unscaled."""
    return VAE(config, dtype).apply({"params": params}, mel, method="encode")


def encode_waveform(
    params: dict, waveform, config: ModelConfig, dtype: Any = jnp.float32
) -> tuple[jax.Array, jax.Array]:
    """waveform: [B, samples] -> the VAE's posterior as of `encode_posterior`; params: the VAE's."""
    mel = log_mel(waveform, mel_front_end(config))
    return encode_posterior(params, mel, config.vae, dtype)


def decode_latents(params: dict, latents, config: VAEConfig, dtype: Any = jnp.float32) -> jax.Array:
    """latents: [B, T, F, C], scaled as the U-Net has them -> mel [B, T, F]."""
    return VAE(config, dtype).apply({"params": params}, latents / config.scale, method="decode")


def vocode_mel(params: dict, mel, config: HiFiGANConfig, dtype: Any = jnp.float32) -> jax.Array:
    """mel: [B, T, F] -> waveforms [B, samples] fp32, which may exceed 1."""
    return vocode(config, params, mel, dtype)
