"""Inputs of the stages on latents: read from the batch, else computed by the frozen encoders.

Batches hold sound, or what `encode` has computed of it. `settings` is a stage's: its model, dtype
and, where they are read, poolings and p_clap_audio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.encoders.clap import clap_audio_features, clap_text_features
from audioldm2_jax.encoders.latents import encode_waveform
from audioldm2_jax.encoders.loa import audiomae_loa
from audioldm2_jax.encoders.text import phoneme_states
from audioldm2_jax.encoders.text import t5_states as encode_t5
from audioldm2_jax.encoders.unconditional import encode_unconditional, unconditional_encoder
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import mel_config
from audioldm2_jax.models.audiomae import loa_length
from audioldm2_jax.models.vae import sample_posterior
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training.spec import BatchSpec, FrozenConstant, TextSpec

# Among the frozen parameters: `encode_unconditional`'s [1, D], where its encoder is not loaded.
EMPTY_TEXT = "empty_text"


def clap_text(model: ModelConfig) -> TextSpec:
    """CLAP's tokens; RoBERTa's first two positions are never used."""
    return TextSpec("clap", "caption", "tokenizer", model.clap.text.positions - 2, "clap_text")


def t5_text() -> TextSpec:
    """T5's tokens."""
    return TextSpec("t5", "caption", "tokenizer_2", states="t5")


def text_specs(model: ModelConfig, p_clap_audio: float) -> tuple[TextSpec, ...]:
    """All texts that the model reads; CLAP's where some vectors are of captions."""
    specs = []
    if model.clap and p_clap_audio < 1:
        specs.append(clap_text(model))
    if model.t5:
        specs.append(t5_text())
    if model.phonemes:
        specs.append(TextSpec("phonemes", "transcript", limit=model.projection.positions))
    return tuple(specs)


def batch_spec(
    settings: Any,
    *,
    clap_audio: bool = False,
    texts: tuple[TextSpec, ...] = (),
    poolings: tuple[int, ...] = (),
) -> BatchSpec:
    """Batches of a stage on latents. clap_audio: CLAP's vector of the sound is read."""
    model, seconds = settings.model, settings.seconds
    front, vae = mel_config(model.vocoder), model.vae
    frames = int(seconds * front.sample_rate) // front.hop
    latent = (frames // vae.factor, front.mels // vae.factor, vae.latent_channels)
    shapes = {"mean": latent, "logvar": latent}
    for pooling in poolings:
        shapes[f"loa_{pooling}"] = loa_length(model.audiomae, pooling), model.audiomae.width
    if clap_audio:
        shapes["clap_audio"] = (model.clap.width,)
    for text in texts:
        if text.name == "clap":
            shapes[text.states] = (model.clap.width,)
        if text.name == "t5":
            shapes[text.states] = (text.length(settings.text_length), model.t5.width)
    return BatchSpec(
        front.sample_rate,
        seconds,
        clap_waveform=clap_audio,
        texts=texts,
        text_length=settings.text_length,
        poolings=poolings,
        precomputed={k: jax.ShapeDtypeStruct(shape, jnp.float32) for k, shape in shapes.items()},
    )


def frozen_parts(batch: BatchSpec, *parts: str) -> dict[str, tuple[str, ...]]:
    """{frozen part: keys of the batch that make it superfluous}."""
    keys = {
        "vae": ("mean",),
        "audiomae": tuple(f"loa_{pooling}" for pooling in batch.poolings),
        "clap": ("clap_audio", "clap_text"),
        "t5": ("t5",),
    }
    return {part: tuple(key for key in keys[part] if key in batch.precomputed) for part in parts}


def hears_audio(model: ModelConfig, p_clap_audio: float) -> bool:
    """Whether CLAP reads the sound of some clips. Raises InputError without an audio tower."""
    if p_clap_audio > 0 and not model.has_audio_tower:
        raise InputError(
            "the base checkpoint has no CLAP audio tower to condition on; use one from the "
            "authors' file, or settings.p_clap_audio=0"
        )
    return p_clap_audio > 0


def draw(keys, number: int, share: float):
    """True for about `share` of the clips: [B]; `number` names the draw."""
    return jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, number)))(keys) < share


def where(chosen, new, old):
    """By clip. chosen: [B]; new, old: [B, ...]."""
    return jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old)


def posterior(settings: Any, frozen: dict, batch: dict):
    """Mean and log variance of the latents, each [B, T, F, C] fp32, unscaled."""
    if "mean" in batch:
        return batch["mean"], batch["logvar"]
    moments = encode_waveform(frozen["vae"], batch["waveform"], settings.model, settings.dtype)
    mean, logvar = (x.astype(jnp.float32) for x in moments)
    return mean, logvar


def latent_mean(settings: Any) -> Callable:
    """(frozen, batch) -> the posterior's mean [B, T, F, C]."""
    return lambda frozen, batch: posterior(settings, frozen, batch)[0]


def latents(settings: Any, frozen: dict, batch: dict, keys):
    """A sample of the VAE's posterior, scaled: [B, T, F, C] fp32."""
    mean, logvar = posterior(settings, frozen, batch)
    scale = frozen.get("scale", settings.model.vae.scale)
    sample = sample_posterior(mean, logvar, jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys))
    return jax.lax.stop_gradient(sample * scale)


def true_loas(settings: Any, frozen: dict, batch: dict) -> dict[int, jax.Array]:
    """{pooling: [B, L, D]} from the batch, else from the sound; AudioMAE runs once for all."""
    poolings = settings.poolings
    if all(f"loa_{pooling}" in batch for pooling in poolings):
        return {pooling: batch[f"loa_{pooling}"] for pooling in poolings}
    model, wave = settings.model, batch["waveform"]
    loas = audiomae_loa(frozen["audiomae"], wave, model.audiomae, poolings, settings.dtype)
    return jax.lax.stop_gradient(jax.tree.map(lambda x: x.astype(jnp.float32), loas))


def clap_vector(settings: Any, frozen: dict, batch: dict, keys):
    """CLAP's features [B, D]: of the sound with probability `p_clap_audio`, else of the caption."""
    config, dtype, share = settings.model.clap, settings.dtype, settings.p_clap_audio
    audio_features = text_features = None
    if share > 0:
        audio_features = batch.get("clap_audio")
        if audio_features is None:
            wave = batch["waveform_48k"]
            audio_features = clap_audio_features(frozen["clap"], wave, config, dtype)
            audio_features = jax.lax.stop_gradient(audio_features.astype(jnp.float32))
    if share < 1:
        text_features = batch.get("clap_text")
        if text_features is None:
            tokens = batch["clap_tokens"], batch["clap_mask"]
            text_features = clap_text_features(frozen["clap"], *tokens, config, dtype)
            text_features = jax.lax.stop_gradient(text_features)
    if audio_features is None or text_features is None:
        return text_features if audio_features is None else audio_features
    return where(draw(keys, 4, share), audio_features, text_features)


def t5_states(settings: Any, params: dict, frozen: dict, batch: dict):
    """T5's states [B, L, D] of the caption, and their mask; T5 trains where it is in `params`."""
    mask = batch["t5_mask"]
    if "t5" not in params and "t5" in batch:
        return batch["t5"], mask
    part = params["t5"] if "t5" in params else jax.lax.stop_gradient(frozen["t5"])
    states = encode_t5(part, batch["t5_tokens"], mask, settings.model.t5, settings.dtype)
    return states.astype(jnp.float32), mask


def text_states(settings: Any, params: dict, frozen: dict, batch: dict):
    """T5's states or, of speech, those of the phoneme encoder, which trains: [B, L, D], mask."""
    model = settings.model
    if not model.phonemes:
        return t5_states(settings, params, frozen, batch)
    tokens, mask = batch["phonemes_tokens"], batch["phonemes_mask"]
    part, config = params["phonemes"], model.phonemes
    return phoneme_states(part, tokens, mask, config, settings.dtype), mask


def empty_text_constant(model: ModelConfig) -> dict[str, FrozenConstant]:
    """The features of "" for stages that drop captions and freeze their encoder."""

    def compute(params, dtype):
        return encode_unconditional(params, model, dtype)

    return {EMPTY_TEXT: FrozenConstant(unconditional_encoder(model), compute)}


def empty_text(settings: Any, params: dict, frozen: dict):
    """CLAP's vector or T5's state of "" [1, D], which guidance uses as unconditional.

    Training shows it for a dropped caption, so that both are the same. An encoder in `params`
    learns from it.
    """
    model, dtype = settings.model, settings.dtype
    if unconditional_encoder(model) in params:
        return encode_unconditional(params, model, dtype)
    if EMPTY_TEXT in frozen:
        return jax.lax.stop_gradient(frozen[EMPTY_TEXT])
    return jax.lax.stop_gradient(encode_unconditional(frozen, model, dtype))


def drop_vector(settings: Any, params: dict, frozen: dict, vector, is_kept):
    """CLAP's vector, of "" where a clip is not kept. vector: [B, D]; is_kept: [B]."""
    empty = empty_text(settings, params, frozen).astype(vector.dtype)
    return where(is_kept, vector, jnp.broadcast_to(empty, vector.shape))


def drop_states(settings: Any, params: dict, frozen: dict, states, mask, is_kept):
    """T5's states and mask, of "" where a clip is not kept.

    states: [B, L, D]; mask: [B, L]; is_kept: [B].
    """
    empty = empty_text(settings, params, frozen)
    blank = jnp.zeros_like(states).at[:, :1].set(empty.astype(states.dtype))
    first = jnp.broadcast_to(jnp.arange(mask.shape[1]) == 0, mask.shape)
    return where(is_kept, states, blank), where(is_kept, mask, first)
