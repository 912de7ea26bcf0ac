"""What the U-Net's stages share: their settings, their loss, and the stage around it.

AudioLDM 2, sections III-C and III-D; AudioLDM, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from audioldm2_jax.diffusion.process import diffuse
from audioldm2_jax.losses.diffusion import min_snr_weight, squared_error
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import Loss, Stage, TrainableGroup
from audioldm2_jax.training.stages import conditions


@dataclass(frozen=True)
class DiffusionSettings(StageSettings):
    """cond_dropout: share of clips without condition; snr_gamma: bound of min-SNR weighting, 0 for
    none.
    """

    cond_dropout: float = setting(0.1, 0, 1)
    snr_gamma: float = setting(0.0, 0)


def denoising_loss(settings: DiffusionSettings, params, frozen, batch, keys, *conditioning):
    """The U-Net's mean squared error: (weighted, {"diffusion": plain}).

    conditioning: streams, their masks and, for some models, FiLM's vector, as `UNet` takes them.
    """
    x0 = conditions.latents(settings, frozen, batch, keys)
    noise_keys = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys)
    x_t, target, timesteps = diffuse(x0, noise_keys, settings.model.schedule)
    prediction = UNet(settings.model.unet, settings.dtype, settings.remat).apply(
        {"params": params["unet"]}, x_t, timesteps, *conditioning
    )
    plain = weighted = squared_error(prediction, target)
    if settings.snr_gamma:
        weighted = plain * min_snr_weight(timesteps, settings.model.schedule, settings.snr_gamma)
    return weighted.mean(), {"diffusion": plain.mean()}


def keep_draw(settings: DiffusionSettings, keys):
    """Clips that keep their condition: [B]."""
    return conditions.draw(keys, 2, 1 - settings.cond_dropout)


def unet_stage(name: str, settings: DiffusionSettings, loss: Loss, optim: OptimConfig) -> Stage:
    """A stage that trains the U-Net alone."""
    init = init_parts({"unet": init_part("unet", settings.model.unet)})
    return Stage(name, init, {"model": TrainableGroup(("unet",), loss, optim)}, ema=("unet",))
