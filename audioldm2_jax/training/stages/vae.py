"""The VAE: L1, optional perceptual term, divergence, and PatchGAN (AudioLDM, section 3.2).

Reference: `LPIPSWithDiscriminator` of the authors' training repository.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.losses import adversarial
from audioldm2_jax.losses.kl import kl_divergence
from audioldm2_jax.models.discriminators import PatchGAN
from audioldm2_jax.models.lpips import LPIPS
from audioldm2_jax.models.vae import VAE, sample_posterior
from audioldm2_jax.presets import ModelConfig


@dataclass(frozen=True)
class Autoencoder:
    """Settings; the discriminator counts from step `start` on; perceptual: weight of LPIPS, whose
    parameters are then among the frozen ones.
    """

    model: ModelConfig
    divergence: float = 1000.0
    adversarial: float = 0.5
    start: int = 25_000
    patch_width: int = 64
    perceptual: float = 0.0
    dtype: Any = jnp.float32
    remat: str = "none"

    @property
    def discriminator(self) -> PatchGAN:
        return PatchGAN(self.patch_width)


def reconstructed(settings: Autoencoder, params: dict, batch: dict, keys):
    """(mel, reconstruction, mean, logvar, the last layer's pull-back)."""
    model, part = settings.model, params["vae"]
    vae = VAE(model.vae, settings.dtype, settings.remat)
    mel = log_mel(batch["waveform"], mel_config(model.vocoder))
    mean, logvar = vae.apply({"params": part}, mel, method="encode")
    mean, logvar = mean.astype(jnp.float32), logvar.astype(jnp.float32)
    drawn = sample_posterior(mean, logvar, keys)
    kernel = part["decoder"]["conv_out"]["kernel"]

    def decode(kernel):
        last = part["decoder"]["conv_out"] | {"kernel": kernel}
        decoder = part | {"decoder": part["decoder"] | {"conv_out": last}}
        return vae.apply({"params": decoder}, drawn, method="decode").astype(jnp.float32)

    made, pull_back = jax.vjp(decode, kernel)
    return mel, made, mean, logvar, lambda gradient: pull_back(gradient)[0]


def generator_loss(settings: Autoencoder) -> Callable:
    """Errors are summed over positions and averaged over clips, as the reference's."""

    def loss(params, frozen, batch, keys, step):
        mel, made, mean, logvar, last_layer = reconstructed(settings, params, batch, keys)

        def error(made):
            difference = jnp.abs(mel - made)
            if settings.perceptual:
                # At every position, as the reference broadcasts it.
                seen = LPIPS().apply({"params": frozen["lpips"]}, mel, made)
                difference = difference + settings.perceptual * seen[:, None, None]
            return difference.sum((1, 2)).mean()

        def judged(made):
            network = {"params": jax.lax.stop_gradient(params["discriminator"])}
            return -settings.discriminator.apply(network, made).mean()

        kl = kl_divergence(mean, logvar).mean()
        metrics = {"l1": jnp.abs(mel - made).mean(), "divergence": kl}
        value = error(made) + settings.divergence * kl
        if settings.adversarial:
            fixed = jax.lax.stop_gradient(made)
            slopes = jax.grad(error)(fixed), jax.grad(judged)(fixed)
            weight = adversarial.adaptive_weight(last_layer, *slopes) * settings.adversarial
            weight = jnp.where(step >= settings.start, weight, 0.0)
            value = value + weight * judged(made)
            metrics["adversarial"] = weight
        return value, metrics

    return loss


def discriminator_loss(settings: Autoencoder) -> Callable:
    """Hinge loss; nothing is learned before the start."""

    def loss(params, frozen, batch, keys, step):
        mel, made, *_ = reconstructed(settings, jax.lax.stop_gradient(params), batch, keys)
        network = {"params": params["discriminator"]}
        real, fake = (settings.discriminator.apply(network, x) for x in (mel, made))
        started = jnp.asarray(step >= settings.start, jnp.float32)
        value = adversarial.hinge_discriminator(real, fake) * started
        return value, {"real": real.mean(), "fake": fake.mean()}

    return loss
