"""U-Net stages: pre-training on the LOA, training on conditions, joint fine-tuning with GPT-2.

AudioLDM 2, sections III-C and III-D; AudioLDM, section 3.3. Batches hold sound or what `encode`
made of it; what is missing is computed here by the frozen encoders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.data import encoders
from audioldm2_jax.losses import gaussian
from audioldm2_jax.losses.diffusion import noise_error, noised
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.sequence import SequenceProjection, sequence_positions
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.presets import ModelConfig


@dataclass(frozen=True)
class Diffusion:
    """Settings of the U-Net's stages.

    drop: share of clips trained without condition; poolings: of the LOA, one drawn for each step in
    pre-training; truth: share of clips that see the true LOA in joint training, others GPT-2's
    (published accounts give 0.25 and 0.75); audio: share of clips that AudioLDM conditions on
    CLAP's features of the sound, the others on the caption's.
    """

    model: ModelConfig
    drop: float = 0.1
    poolings: tuple[int, ...] = (8,)
    truth: float = 0.25
    audio: float = 1.0
    dtype: Any = jnp.float32
    remat: str = "none"


def draw(keys, number: int, share: float):
    """True for about `share` of the clips: [B]; `number` names the draw."""
    return jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, number)))(keys) < share


def where(chosen, new, old):
    """By clip. chosen: [B]; new, old: [B, ...]."""
    return jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old)


def latents(settings: Diffusion, frozen: dict, batch: dict, keys):
    """A sample of the VAE's posterior, scaled: [B, T, F, C] fp32."""
    model = settings.model
    if "mean" in batch:
        mean, logvar = batch["mean"], batch["logvar"]
    else:
        moments = encoders.encode_posterior(frozen, batch["waveform"], model, settings.dtype)
        mean, logvar = (x.astype(jnp.float32) for x in moments)
    scale = frozen.get("scale", model.vae.scale)
    drawn = gaussian.sampled(mean, logvar, jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys))
    return jax.lax.stop_gradient(drawn * scale)


def true_loas(settings: Diffusion, frozen: dict, batch: dict) -> dict[int, jax.Array]:
    """{pooling: [B, L, D]} from the batch, else from the sound, which is heard once for all."""
    poolings = settings.poolings
    if all(f"loa_{pooling}" in batch for pooling in poolings):
        return {pooling: batch[f"loa_{pooling}"] for pooling in poolings}
    model, wave = settings.model, batch["waveform"]
    found = encoders.encode_loa(frozen, wave, model, poolings, settings.dtype)
    return jax.lax.stop_gradient(jax.tree.map(lambda x: x.astype(jnp.float32), found))


def texts(settings: Diffusion, frozen: dict, batch: dict) -> dict:
    """clap_text [B, D], t5 [B, L, D] and t5_mask, as far as the model reads them."""
    found = {k: batch[k] for k in ("clap_text", "t5", "t5_mask") if k in batch}
    model = settings.model
    wanted = {"clap_text": model.clap is not None, "t5": model.t5 is not None}
    if any(need and key not in found for key, need in wanted.items()):
        made = encoders.encode_texts(frozen, batch, model, settings.dtype)
        found = jax.lax.stop_gradient(made) | found
    return found


def error(settings: Diffusion, params, frozen, batch, keys, streams, masks, film=None):
    """The U-Net's mean squared error under given conditions."""
    clean = latents(settings, frozen, batch, keys)
    later = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys)
    mixed, noise, timesteps = noised(clean, later, settings.model.schedule)
    predicted = UNet(settings.model.unet, settings.dtype, settings.remat).apply(
        {"params": params["unet"]}, mixed, timesteps, streams, masks, film
    )
    return noise_error(predicted, noise).mean()


def pretraining_loss(settings: Diffusion) -> Callable:
    """Latent diffusion on the LOA of the clip itself: no captions are needed.

    The pooling is drawn for each step; shorter LOA are padded, and the padding masked, so that one
    program serves all.
    """
    model = settings.model
    longest = _loa_length(model, min(settings.poolings))

    def loss(params, frozen, batch, keys, step):
        kept = draw(keys, 2, 1 - settings.drop)
        found = true_loas(settings, frozen, batch)
        branches = [_padded(found[pooling], longest) for pooling in settings.poolings]
        which = jax.random.randint(jax.random.fold_in(keys[0], 3), (), 0, len(branches))
        loa, mask = (jnp.stack([b[i] for b in branches])[which] for i in range(2))
        loa = where(kept, loa, jnp.zeros_like(loa))
        streams, masks = _streams(model, loa, mask)
        value = error(settings, params, frozen, batch, keys, streams, masks)
        return value, {}

    return loss


def _loa_length(model: ModelConfig, pooling: int) -> int:
    mae = model.audiomae
    return (mae.frames // mae.patch // pooling) * (mae.bins // mae.patch // pooling)


def _padded(loa, longest):
    """To `longest` vectors, and the mask of the true ones."""
    pad = longest - loa.shape[1]
    mask = jnp.broadcast_to(jnp.arange(longest) < loa.shape[1], (loa.shape[0], longest))
    return jnp.pad(loa, ((0, 0), (0, pad), (0, 0))), mask


def _streams(model: ModelConfig, loa, mask):
    """LOA alone; the text's stream is one zero vector, as for no text."""
    text = model.t5.width if model.t5 else model.phonemes.width
    nothing = jnp.zeros((loa.shape[0], 1, text), loa.dtype)
    return (loa, nothing), (mask, None)


def conditioned_loss(settings: Diffusion) -> Callable:
    """AudioLDM: CLAP's vector of the sound or the caption; AudioLDM with T5: its states."""
    model = settings.model

    def loss(params, frozen, batch, keys, step):
        kept = draw(keys, 2, 1 - settings.drop)
        if model.unet.film:
            vector = _clap_vector(settings, frozen, batch, keys)
            vector = where(kept, vector, jnp.zeros_like(vector))
            return error(settings, params, frozen, batch, keys, (), (None, None), vector), {}
        found = texts(settings, frozen, batch)
        states = where(kept, found["t5"], jnp.zeros_like(found["t5"]))
        streams, masks = (states, None), (found["t5_mask"], None)
        return error(settings, params, frozen, batch, keys, streams, masks), {}

    return loss


def _clap_vector(settings: Diffusion, frozen, batch, keys):
    """The sound's features for the share `audio` of the clips, the caption's for the others."""
    heard = read = None
    if settings.audio > 0:
        heard = batch.get("clap_audio")
        if heard is None:
            made = encoders.encode_clap_audio(
                frozen, batch["waveform_48k"], settings.model, settings.dtype
            )
            heard = jax.lax.stop_gradient(made.astype(jnp.float32))
    if settings.audio < 1:
        read = texts(dataclasses.replace(settings, model=_text_only(settings.model)), frozen, batch)
        read = read["clap_text"]
    if heard is None or read is None:
        return read if heard is None else heard
    return where(draw(keys, 4, settings.audio), heard, read)


def _text_only(model: ModelConfig) -> ModelConfig:
    return dataclasses.replace(model, t5=None)


def joint_loss(settings: Diffusion) -> Callable:
    """U-Net and GPT-2 together: the probability switcher chooses each clip's LOA.

    GPT-2's own error is added, as the authors' code does; gradients of the U-Net's error flow
    through the roll-out.
    """
    pooling = settings.poolings[0]

    def loss(params, frozen, batch, keys, step):
        found = texts(settings, frozen, batch)
        truth = true_loas(settings, frozen, batch)[pooling]
        made = predicted_loa(settings, params, found, truth.shape[1])
        language = jnp.abs(made.astype(jnp.float32) - truth).mean()
        true = draw(keys, 3, settings.truth)
        loa = where(true, truth, made.astype(truth.dtype))
        kept = draw(keys, 2, 1 - settings.drop)
        loa = where(kept, loa, jnp.zeros_like(loa))
        states = where(kept, found["t5"], jnp.zeros_like(found["t5"]))
        streams, masks = (loa, states), (None, found["t5_mask"])
        diffusion = error(settings, params, frozen, batch, keys, streams, masks)
        metrics = {"diffusion": diffusion, "language": language, "truth": true.mean()}
        return diffusion + language, metrics

    return loss


def predicted_loa(settings: Diffusion, params: dict, found: dict, tokens: int):
    """GPT-2's free roll-out from the texts: [B, tokens, D]."""
    model, dtype = settings.model, settings.dtype
    sequence, kept = SequenceProjection(model.projection, dtype).apply(
        {"params": params["projection"]}, found["clap_text"], found["t5"], found["t5_mask"]
    )
    lengths = jnp.sum(found["t5_mask"], -1)
    positions = sequence_positions(found["t5"].shape[1], lengths)
    gpt2 = GPT2(model.gpt2, dtype, settings.remat)
    return roll_out(gpt2, params["gpt2"], sequence, kept, positions, tokens=tokens)
