"""Pre-training of the U-Net on the LOA of the sound itself (AudioLDM 2, section III-C)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from audioldm2_jax.models.audiomae import loa_length
from audioldm2_jax.models.kernels.attention import Prefix
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import setting
from audioldm2_jax.training.spec import Loss, PromptSamples, StageInfo, StageSpec
from audioldm2_jax.training.stages import conditions, diffusion
from audioldm2_jax.training.stages.loa import check_language_model


@dataclass(frozen=True)
class PretrainSettings(diffusion.DiffusionSettings):
    """poolings: of the LOA, one of which is drawn in each step."""

    poolings: tuple[int, ...] = setting((1, 2, 4, 8), 1)


def pretraining_loss(settings: PretrainSettings) -> Loss:
    """Latent diffusion on the LOA of the clip itself: no captions are needed.

    The pooling is drawn in each step; shorter LOA are padded, and the padding is masked, so that
    one program serves all.
    """
    lengths = tuple(loa_length(settings.model.audiomae, p) for p in settings.poolings)

    def loss(params, frozen, batch, keys, step):
        is_kept = diffusion.keep_draw(settings, keys)
        loas = conditions.true_loas(settings, frozen, batch)
        index = jax.random.randint(jax.random.fold_in(keys[0], 3), (), 0, len(lengths))
        padded = [_pad(loas[pooling], max(lengths)) for pooling in settings.poolings]
        loa = jax.lax.select_n(index, *padded)
        loa = conditions.where(is_kept, loa, jnp.zeros_like(loa))
        prefix = Prefix(lengths, index) if len(lengths) > 1 else None
        streams, masks = _streams(settings, params, frozen, loa), (prefix, None)
        return diffusion.denoising_loss(settings, params, frozen, batch, keys, streams, masks)

    return loss


def _pad(loa, length: int):
    """To `length` vectors."""
    return jnp.pad(loa, ((0, 0), (0, length - loa.shape[1]), (0, 0)))


def _streams(settings: PretrainSettings, params: dict, frozen: dict, loa):
    """LOA and, except in models of speech, T5's states of "": there is no caption."""
    if not settings.model.t5:
        return loa, None
    empty = conditions.empty_text(settings, params, frozen).astype(loa.dtype)
    return loa, jnp.broadcast_to(empty, (loa.shape[0], *empty.shape))


def build(settings: PretrainSettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    model = settings.model
    check_language_model(model, "pretrain")
    batch = conditions.batch_spec(settings, poolings=settings.poolings)
    return StageSpec(
        diffusion.unet_stage("pretrain", settings, pretraining_loss(settings), optim),
        batch,
        conditions.frozen_parts(batch, "vae", "audiomae"),
        conditions.empty_text_constant(model) if model.t5 else {},
        init_from_base=("unet",),
        latent_mean=conditions.latent_mean(settings),
        exports=("unet",),
    )


STAGE = StageInfo(
    name="pretrain",
    settings=PretrainSettings,
    build=build,
    trains="U-Net on the LOA of the sound itself, pooling drawn for each step",
    needs="VAE, AudioMAE",
    samples=PromptSamples(),
    reads_latents=True,
    has_ema=True,
)
