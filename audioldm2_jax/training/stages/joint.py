"""Joint fine-tuning of U-Net and GPT-2 by the probability switcher (AudioLDM 2, section III-D)."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import setting
from audioldm2_jax.training.spec import (
    Loss,
    PromptSamples,
    Stage,
    StageInfo,
    StageSpec,
    TrainableGroup,
)
from audioldm2_jax.training.stages import conditions, diffusion, loa


@dataclass(frozen=True)
class JointSettings(diffusion.DiffusionSettings, loa.LanguageSettings):
    """p_ground_truth: share of clips whose U-Net reads the true LOA, not GPT-2's (published
    accounts give 0.25 and 0.75), 1 for no roll-out at all; backprop_through_rollout: gradients of
    the roll-out flow from vector to vector.
    """

    p_ground_truth: float = setting(0.25, 0, 1)
    backprop_through_rollout: bool = setting(True, needs=("p_ground_truth", lambda p: p < 1))


def joint_loss(settings: JointSettings) -> Loss:
    """U-Net and GPT-2 together: the probability switcher chooses each clip's LOA.

    GPT-2's own error is added, as the authors' code does; gradients of the U-Net's error flow
    into the roll-out. With `p_ground_truth` 1 nothing is rolled out, and GPT-2 learns
    teacher-forced.
    """

    def loss(params, frozen, batch, keys, step):
        truth = conditions.true_loas(settings, frozen, batch)[settings.pooling]
        vector = conditions.clap_vector(settings, frozen, batch, keys)
        states, mask = conditions.text_states(settings, params, frozen, batch)
        inputs = loa.lm_inputs(settings, params, vector, states, mask)
        chosen, uses_truth = truth, jnp.ones(truth.shape[0], bool)
        if settings.p_ground_truth < 1:
            prediction = loa.rollout(settings, params, inputs, truth.shape[1])
            uses_truth = conditions.draw(keys, 3, settings.p_ground_truth)
            chosen = conditions.where(uses_truth, truth, prediction.astype(truth.dtype))
        else:
            prediction = loa.teacher_forced(settings, params, inputs, truth)
        language = jnp.abs(prediction.astype(jnp.float32) - truth).mean()
        is_kept = diffusion.keep_draw(settings, keys)
        chosen = conditions.where(is_kept, chosen, jnp.zeros_like(chosen))
        streams, masks = (chosen, None), (None, None)
        if settings.model.t5:
            dropped = conditions.drop_states(settings, params, frozen, states, mask, is_kept)
            streams, masks = (chosen, dropped[0]), (None, dropped[1])
        value, metrics = diffusion.denoising_loss(
            settings, params, frozen, batch, keys, streams, masks
        )
        return value + language, metrics | {"language": language, "truth": uses_truth.mean()}

    return loss


def build(settings: JointSettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    model = settings.model
    loa.check_language_model(model, "joint")
    parts = ("unet", *loa.language_parts(settings))
    init = init_parts({part: init_part(part, getattr(model, part)) for part in parts})
    group = TrainableGroup(parts, joint_loss(settings), optim, loa.UNUSED)
    batch = loa.language_batch(settings)
    frozen = conditions.frozen_parts(batch, "vae") | loa.frozen_encoders(settings, batch)
    return StageSpec(
        Stage("joint", init, {"model": group}, ema=parts),
        batch,
        frozen,
        conditions.empty_text_constant(model) if "t5" in frozen else {},
        init_from_base=parts,
        latent_mean=conditions.latent_mean(settings),
        exports=parts,
    )


STAGE = StageInfo(
    name="joint",
    settings=JointSettings,
    build=build,
    trains=(
        "U-Net and GPT-2 (and phoneme encoder), probability switcher "
        "(`settings.p_ground_truth`, 0.25)"
    ),
    needs="VAE, CLAP, T5, AudioMAE",
    reads="sound, captions or transcripts",
    samples=PromptSamples(),
    reads_latents=True,
    reads_texts=True,
    has_ema=True,
)
