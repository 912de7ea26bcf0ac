"""HiFi-GAN against five periods and three scales, with features and mel (arXiv 2010.05646)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.losses import adversarial, spectral
from audioldm2_jax.models.discriminators import WaveDiscriminators
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training.weight_norm import fold


@dataclass(frozen=True)
class Vocoder:
    """Settings; `segment` samples of each clip are trained on.

    Weights: mel, its distance; spectra, magnitudes at several resolutions, not in the paper;
    adversarial, what the discriminators say and their features, 0 for none of them.
    """

    model: ModelConfig
    segment: int = 8192
    mel: float = 45.0
    spectra: float = 0.0
    adversarial: float = 1.0
    discriminators: WaveDiscriminators = WaveDiscriminators()
    dtype: Any = jnp.float32
    remat: str = "none"


def segments(settings: Vocoder, batch: dict, keys):
    """A random piece of each clip: [B, segment]."""
    waves, size = batch["waveform"], settings.segment

    def one(wave, key):
        start = jax.random.randint(key, (), 0, wave.shape[0] - size + 1)
        return jax.lax.dynamic_slice_in_dim(wave, start, size)

    return jax.vmap(one)(waves, keys)


def generated(settings: Vocoder, params: dict, batch: dict, keys):
    """(true piece, its mel, what the generator makes of that)."""
    wave = segments(settings, batch, keys)
    mel = log_mel(wave, mel_config(settings.model.vocoder))
    network = HiFiGAN(settings.model.vocoder, settings.dtype, settings.remat)
    made = network.apply({"params": fold(params["vocoder"])}, mel)
    length = min(wave.shape[1], made.shape[1])
    return wave[:, :length], mel, made[:, :length]


def generator_loss(settings: Vocoder) -> Callable:
    def loss(params, frozen, batch, keys, step):
        wave, mel, made = generated(settings, params, batch, keys)
        heard = log_mel(made, mel_config(settings.model.vocoder))
        frames = min(mel.shape[1], heard.shape[1])
        distance = jnp.abs(mel[:, :frames] - heard[:, :frames]).mean()
        value, metrics = settings.mel * distance, {"mel": distance}
        if settings.spectra:
            metrics["spectra"] = spectral.multi_resolution_stft(made, wave)
            value = value + settings.spectra * metrics["spectra"]
        if settings.adversarial:
            network = {"params": jax.lax.stop_gradient(params["discriminators"])}
            real = settings.discriminators.apply(network, wave)
            fake = settings.discriminators.apply(network, made)
            matching = adversarial.feature_matching([f for _, f in real], [f for _, f in fake])
            judged = adversarial.least_squares_generator([score for score, _ in fake])
            value = value + settings.adversarial * (judged + matching)
            metrics |= {"features": matching, "adversarial": judged}
        return value, metrics

    return loss


def discriminator_loss(settings: Vocoder) -> Callable:
    def loss(params, frozen, batch, keys, step):
        wave, _, made = generated(settings, jax.lax.stop_gradient(params), batch, keys)
        # Each real clip beside its fake: one pass over the kernels, and no clip leaves its device.
        both = jnp.stack([wave, made], 1).reshape(-1, wave.shape[1])
        judged = settings.discriminators.apply({"params": params["discriminators"]}, both)
        scores = [score.reshape(len(wave), 2, -1) for score, _ in judged]
        real, fake = [s[:, 0] for s in scores], [s[:, 1] for s in scores]
        return adversarial.least_squares_discriminator(real, fake), {}

    return loss
