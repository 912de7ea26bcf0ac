"""The VAE: L1, optional perceptual term, KL divergence, and PatchGAN (AudioLDM, section 3.2).

Reference: `LPIPSWithDiscriminator` of the authors' training repository.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import lpips
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.losses import adversarial
from audioldm2_jax.losses.kl import kl_divergence
from audioldm2_jax.models.discriminators import PatchGAN
from audioldm2_jax.models.lpips import LPIPS
from audioldm2_jax.models.vae import VAE, sample_posterior
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import (
    BatchSpec,
    ClipSamples,
    Loss,
    Stage,
    StageInfo,
    StageSpec,
    TrainableGroup,
)

_ADVERSARIAL = ("adversarial_weight", bool)


@dataclass(frozen=True)
class VAESettings(StageSettings):
    """Weights of the loss' terms; the discriminator counts from step `discriminator_start` on;
    perceptual_files: VGG16's and LPIPS' files, whose parameters are frozen.
    """

    kl_weight: float = setting(1000.0, 0)
    adversarial_weight: float = setting(0.5, 0)
    discriminator_start: int = setting(25_000, 0, needs=_ADVERSARIAL)
    discriminator_width: int = setting(64, 1, needs=_ADVERSARIAL)
    perceptual_weight: float = setting(0.0, 0)
    perceptual_files: str = setting("", needs=("perceptual_weight", bool))

    @property
    def discriminator(self) -> PatchGAN:
        """The PatchGAN on mel spectrograms."""
        return PatchGAN(self.discriminator_width)


def reconstruct(settings: VAESettings, params: dict, batch: dict, keys):
    """(mel, reconstruction, mean, logvar, vector-Jacobian product of the decoder's last kernel)."""
    model, part = settings.model, params["vae"]
    vae = VAE(model.vae, settings.dtype, settings.remat)
    mel = log_mel(batch["waveform"], mel_config(model.vocoder))
    mean, logvar = vae.apply({"params": part}, mel, method="encode")
    mean, logvar = mean.astype(jnp.float32), logvar.astype(jnp.float32)
    latents = sample_posterior(mean, logvar, keys)
    kernel = part["decoder"]["conv_out"]["kernel"]

    def decode(kernel):
        last = part["decoder"]["conv_out"] | {"kernel": kernel}
        decoder = part | {"decoder": part["decoder"] | {"conv_out": last}}
        return vae.apply({"params": decoder}, latents, method="decode").astype(jnp.float32)

    reconstruction, vjp = jax.vjp(decode, kernel)
    return mel, reconstruction, mean, logvar, lambda gradient: vjp(gradient)[0]


def generator_loss(settings: VAESettings) -> Loss:
    """Errors are summed over positions and averaged over clips, as the reference's."""

    def loss(params, frozen, batch, keys, step):
        mel, output, mean, logvar, last_layer = reconstruct(settings, params, batch, keys)

        def reconstruction_error(output):
            difference = jnp.abs(mel - output)
            if settings.perceptual_weight:
                # At every position, as the reference broadcasts it.
                distance = LPIPS().apply({"params": frozen["lpips"]}, mel, output)
                difference = difference + settings.perceptual_weight * distance[:, None, None]
            return difference.sum((1, 2)).mean()

        def adversarial_error(output):
            network = {"params": jax.lax.stop_gradient(params["discriminator"])}
            return -settings.discriminator.apply(network, output).mean()

        kl = kl_divergence(mean, logvar).mean()
        metrics = {"l1": jnp.abs(mel - output).mean(), "divergence": kl}
        value = reconstruction_error(output) + settings.kl_weight * kl
        if settings.adversarial_weight:
            fixed = jax.lax.stop_gradient(output)
            slopes = jax.grad(reconstruction_error)(fixed), jax.grad(adversarial_error)(fixed)
            weight = adversarial.adaptive_weight(last_layer, *slopes) * settings.adversarial_weight
            weight = jnp.where(step >= settings.discriminator_start, weight, 0.0)
            value = value + weight * adversarial_error(output)
            metrics["adversarial"] = weight
        return value, metrics

    return loss


def discriminator_loss(settings: VAESettings) -> Loss:
    """Hinge loss; zero before `discriminator_start`."""

    def loss(params, frozen, batch, keys, step):
        mel, output, *_ = reconstruct(settings, jax.lax.stop_gradient(params), batch, keys)
        network = {"params": params["discriminator"]}
        real, fake = (settings.discriminator.apply(network, x) for x in (mel, output))
        has_started = jnp.asarray(step >= settings.discriminator_start, jnp.float32)
        value = adversarial.hinge_discriminator(real, fake) * has_started
        return value, {"real": real.mean(), "fake": fake.mean()}

    return loss


def build(settings: VAESettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    model, files = settings.model, settings.perceptual_files
    if settings.perceptual_weight and not files:
        raise InputError(
            "settings.perceptual_weight: name VGG16's and LPIPS' files by settings.perceptual_files"
        )
    front = mel_config(model.vocoder)
    inits, groups = {"vae": init_part("vae", model.vae)}, {}
    # The reference updates the discriminator first, on the same reconstruction.
    if settings.adversarial_weight:
        image = jnp.zeros((1, 32, front.mels))
        inits["discriminator"] = lambda key: settings.discriminator.init(key, image)["params"]
        loss = discriminator_loss(settings)
        groups["discriminator"] = TrainableGroup(("discriminator",), loss, optim)
    groups["generator"] = TrainableGroup(("vae",), generator_loss(settings), optim)
    has_lpips = settings.perceptual_weight > 0
    return StageSpec(
        Stage("vae", init_parts(inits), groups, ema=("vae",)),
        BatchSpec(front.sample_rate, settings.seconds),
        extra_frozen=(lambda: {"lpips": lpips.load(files)}) if has_lpips else dict,
        init_from_base=("vae",),
        exports=("vae",),
    )


def restore(config, params, mel):
    """Mel spectrograms through encoder and decoder: [B, T, F] -> [B, T, F]."""
    vae = VAE(config)
    mean, _ = vae.apply({"params": params}, mel, method="encode")
    return vae.apply({"params": params}, mean, method="decode")


STAGE = StageInfo(
    name="vae",
    settings=VAESettings,
    build=build,
    trains=(
        "the mel VAE: L1, LPIPS (optional), divergence, PatchGAN with adaptive weight, late start"
    ),
    samples=ClipSamples("vae", restore, is_sound=False),
    has_ema=True,
)
