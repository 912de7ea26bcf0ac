"""U-Net stages: pre-training on the LOA, training on conditions, joint fine-tuning with GPT-2.

AudioLDM 2, sections III-C and III-D; AudioLDM, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.diffusion.process import diffuse
from audioldm2_jax.errors import InputError
from audioldm2_jax.losses.diffusion import min_snr_weight, squared_error
from audioldm2_jax.models.audiomae import loa_length
from audioldm2_jax.models.kernels.attention import Prefix
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training.stages import conditions, sequence
from audioldm2_jax.training.stages.conditions import draw, where


@dataclass(frozen=True)
class Diffusion:
    """Settings of the U-Net's stages.

    drop: share of clips trained without condition; poolings: of the LOA, one drawn for each step in
    pre-training; truth: share of clips that see the true LOA in joint training, others GPT-2's
    (published accounts give 0.25 and 0.75), 1 for no roll-out at all; through: gradients
    of the roll-out flow from vector to vector; audio: share of clips whose CLAP vector is of the
    sound, not of the caption; text: T5 learns too, in joint training, for models whose T5 is not a
    published one; snr_gamma: bound of min-SNR weighting, 0 for none.
    """

    model: ModelConfig
    drop: float = 0.1
    poolings: tuple[int, ...] = (8,)
    truth: float = 0.25
    through: bool = True
    audio: float = 0.0
    text: bool = False
    snr_gamma: float = 0.0
    dtype: Any = jnp.float32
    remat: str = "none"

    def __post_init__(self):
        if self.snr_gamma < 0:
            raise InputError(f"snr_gamma {self.snr_gamma}: at least 0, which is no bound")


def error(settings: Diffusion, params, frozen, batch, keys, streams, masks, film=None):
    """The U-Net's mean squared error under conditions: (weighted, {"diffusion": plain})."""
    clean = conditions.latents(settings, frozen, batch, keys)
    later = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys)
    noisy, target, timesteps = diffuse(clean, later, settings.model.schedule)
    predicted = UNet(settings.model.unet, settings.dtype, settings.remat).apply(
        {"params": params["unet"]}, noisy, timesteps, streams, masks, film
    )
    plain = weighted = squared_error(predicted, target)
    if settings.snr_gamma:
        weighted = plain * min_snr_weight(timesteps, settings.model.schedule, settings.snr_gamma)
    return weighted.mean(), {"diffusion": plain.mean()}


def pretraining_loss(settings: Diffusion) -> Callable:
    """Latent diffusion on the LOA of the clip itself: no captions are needed.

    The pooling is drawn for each step; shorter LOA are padded, and the padding is not attended to,
    so that one program serves all.
    """
    model = settings.model
    lengths = tuple(loa_length(model.audiomae, pooling) for pooling in settings.poolings)

    def loss(params, frozen, batch, keys, step):
        kept = draw(keys, 2, 1 - settings.drop)
        found = conditions.true_loas(settings, frozen, batch)
        which = jax.random.randint(jax.random.fold_in(keys[0], 3), (), 0, len(lengths))
        padded = [_padded(found[pooling], max(lengths)) for pooling in settings.poolings]
        loa = jax.lax.select_n(which, *padded)
        loa = where(kept, loa, jnp.zeros_like(loa))
        prefix = Prefix(lengths, which) if len(lengths) > 1 else None
        streams, masks = _streams(settings, params, frozen, loa), (prefix, None)
        return error(settings, params, frozen, batch, keys, streams, masks)

    return loss


def _padded(loa, longest):
    """To `longest` vectors."""
    return jnp.pad(loa, ((0, 0), (0, longest - loa.shape[1]), (0, 0)))


def _streams(settings: Diffusion, params: dict, frozen: dict, loa):
    """LOA and, except in models of speech, T5's states of "": there is no caption."""
    if not settings.model.t5:
        return loa, None
    nothing = conditions.empty_text(settings, params, frozen).astype(loa.dtype)
    return loa, jnp.broadcast_to(nothing, (loa.shape[0], *nothing.shape))


def conditioned_loss(settings: Diffusion) -> Callable:
    """AudioLDM: CLAP's vector of the sound or the caption; AudioLDM with T5: its states."""
    model = settings.model

    def loss(params, frozen, batch, keys, step):
        kept = draw(keys, 2, 1 - settings.drop)
        if model.unet.film:
            vector = conditions.clap_vector(settings, frozen, batch, keys)
            vector = conditions.dropped_vector(settings, params, frozen, vector, kept)
            return error(settings, params, frozen, batch, keys, (), (None, None), vector)
        states, mask = conditions.t5_states(settings, params, frozen, batch)
        states, mask = conditions.dropped_states(settings, params, frozen, states, mask, kept)
        streams, masks = (states, None), (mask, None)
        return error(settings, params, frozen, batch, keys, streams, masks)

    return loss


def joint_loss(settings: Diffusion) -> Callable:
    """U-Net and GPT-2 together: the probability switcher chooses each clip's LOA.

    GPT-2's own error is added, as the authors' code does; gradients of the U-Net's error flow
    into the roll-out (`sequence.rolled`). With `truth` 1 nothing is rolled out, and GPT-2 learns
    teacher-forced.
    """
    model, pooling = settings.model, settings.poolings[0]

    def loss(params, frozen, batch, keys, step):
        truth = conditions.true_loas(settings, frozen, batch)[pooling]
        vector = conditions.clap_vector(settings, frozen, batch, keys)
        states, mask = conditions.text_states(settings, params, frozen, batch)
        start = sequence.beginning(settings, params, vector, states, mask)
        loa, true = truth, jnp.ones(truth.shape[0], bool)
        if settings.truth < 1:
            made = sequence.rolled(settings, params, *start, truth.shape[1])
            true = draw(keys, 3, settings.truth)
            loa = where(true, truth, made.astype(truth.dtype))
        else:
            made = sequence.forced(settings, params, *start, truth)
        language = jnp.abs(made.astype(jnp.float32) - truth).mean()
        kept = draw(keys, 2, 1 - settings.drop)
        loa = where(kept, loa, jnp.zeros_like(loa))
        streams, masks = (loa, None), (None, None)
        if model.t5:
            dropped = conditions.dropped_states(settings, params, frozen, states, mask, kept)
            streams, masks = (loa, dropped[0]), (None, dropped[1])
        value, metrics = error(settings, params, frozen, batch, keys, streams, masks)
        return value + language, metrics | {"language": language, "truth": true.mean()}

    return loss
