"""AudioLDM: the U-Net on CLAP's vector, or on T5's states (AudioLDM, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from audioldm2_jax.errors import InputError
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import setting
from audioldm2_jax.training.spec import Loss, PromptSamples, StageInfo, StageSpec
from audioldm2_jax.training.stages import conditions, diffusion


@dataclass(frozen=True)
class AudioLDMSettings(diffusion.DiffusionSettings):
    """p_clap_audio: share of clips whose CLAP vector is of the sound, not of the caption."""

    p_clap_audio: float = setting(0.0, 0, 1)


def conditioned_loss(settings: AudioLDMSettings) -> Loss:
    """CLAP's vector of the sound or the caption as FiLM; AudioLDM with T5: its states."""

    def loss(params, frozen, batch, keys, step):
        is_kept = diffusion.keep_draw(settings, keys)
        if settings.model.unet.film:
            vector = conditions.clap_vector(settings, frozen, batch, keys)
            vector = conditions.drop_vector(settings, params, frozen, vector, is_kept)
            conditioning = (), (None, None), vector
        else:
            states, mask = conditions.t5_states(settings, params, frozen, batch)
            states, mask = conditions.drop_states(settings, params, frozen, states, mask, is_kept)
            conditioning = (states, None), (mask, None)
        return diffusion.denoising_loss(settings, params, frozen, batch, keys, *conditioning)

    return loss


def build(settings: AudioLDMSettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    model, p_clap_audio = settings.model, settings.p_clap_audio
    if p_clap_audio and not model.unet.film:
        raise InputError(
            "settings.p_clap_audio: the model has no CLAP to condition on; leave it at 0.0"
        )
    if model.unet.film:
        encoder, clap_audio = "clap", conditions.hears_audio(model, p_clap_audio)
        texts = conditions.text_specs(model, p_clap_audio)
    else:
        encoder, clap_audio, texts = "t5", False, (conditions.t5_text(),)
    batch = conditions.batch_spec(settings, clap_audio=clap_audio, texts=texts)
    return StageSpec(
        diffusion.unet_stage("audioldm", settings, conditioned_loss(settings), optim),
        batch,
        conditions.frozen_parts(batch, "vae", encoder),
        conditions.empty_text_constant(model),
        init_from_base=("unet",),
        latent_mean=conditions.latent_mean(settings),
        exports=("unet",),
    )


STAGE = StageInfo(
    name="audioldm",
    settings=AudioLDMSettings,
    build=build,
    trains="AudioLDM on CLAP's vector of sound or caption, or on T5",
    needs="VAE, CLAP (or T5)",
    reads="sound, captions",
    samples=PromptSamples(),
    reads_latents=True,
    reads_texts=True,
    has_ema=True,
)
