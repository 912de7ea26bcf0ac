"""What the stages of the latent space train on: from the batch, else by the frozen encoders.

Batches hold sound or what `encode` made of it. `settings` is a stage's: model, dtype and, where
they are read, poolings and audio.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.encoders.clap import clap_audio_features, clap_text_features
from audioldm2_jax.encoders.latents import encode_waveform
from audioldm2_jax.encoders.loa import audiomae_loa
from audioldm2_jax.encoders.text import phoneme_states
from audioldm2_jax.encoders.text import t5_states as encode_t5
from audioldm2_jax.encoders.unconditional import encode_unconditional, unconditional_encoder
from audioldm2_jax.models.vae import sample_posterior

# Among the frozen parameters: what `encode_unconditional` returns, where its encoder is not
# needed otherwise.
NOTHING = "nothing"


def draw(keys, number: int, share: float):
    """True for about `share` of the clips: [B]; `number` names the draw."""
    return jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, number)))(keys) < share


def where(chosen, new, old):
    """By clip. chosen: [B]; new, old: [B, ...]."""
    return jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old)


def latents(settings: Any, frozen: dict, batch: dict, keys):
    """A sample of the VAE's posterior, scaled: [B, T, F, C] fp32."""
    model = settings.model
    if "mean" in batch:
        mean, logvar = batch["mean"], batch["logvar"]
    else:
        moments = encode_waveform(frozen["vae"], batch["waveform"], model, settings.dtype)
        mean, logvar = (x.astype(jnp.float32) for x in moments)
    scale = frozen.get("scale", model.vae.scale)
    drawn = sample_posterior(mean, logvar, jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys))
    return jax.lax.stop_gradient(drawn * scale)


def true_loas(settings: Any, frozen: dict, batch: dict) -> dict[int, jax.Array]:
    """{pooling: [B, L, D]} from the batch, else from the sound, which is heard once for all."""
    poolings = settings.poolings
    if all(f"loa_{pooling}" in batch for pooling in poolings):
        return {pooling: batch[f"loa_{pooling}"] for pooling in poolings}
    model, wave = settings.model, batch["waveform"]
    mae = frozen["audiomae"]
    found = audiomae_loa(mae, wave, model.audiomae, poolings, settings.dtype)
    return jax.lax.stop_gradient(jax.tree.map(lambda x: x.astype(jnp.float32), found))


def clap_vector(settings: Any, frozen: dict, batch: dict, keys):
    """CLAP's [B, D]: of the sound for the share `audio` of the clips, of the caption for others."""
    heard = read = None
    config, dtype = settings.model.clap, settings.dtype
    if settings.audio > 0:
        heard = batch.get("clap_audio")
        if heard is None:
            wave = batch["waveform_48k"]
            heard = clap_audio_features(frozen["clap"], wave, config, dtype)
            heard = jax.lax.stop_gradient(heard.astype(jnp.float32))
    if settings.audio < 1:
        read = batch.get("clap_text")
        if read is None:
            tokens = batch["clap_tokens"], batch["clap_mask"]
            read = clap_text_features(frozen["clap"], *tokens, config, dtype)
            read = jax.lax.stop_gradient(read)
    if heard is None or read is None:
        return read if heard is None else heard
    return where(draw(keys, 4, settings.audio), heard, read)


def t5_states(settings: Any, params: dict, frozen: dict, batch: dict):
    """T5's [B, L, D] of the caption, and their mask; in `params`, T5 learns."""
    mask = batch["t5_mask"]
    if "t5" not in params and "t5" in batch:
        return batch["t5"], mask
    part = params["t5"] if "t5" in params else jax.lax.stop_gradient(frozen["t5"])
    states = encode_t5(part, batch["t5_tokens"], mask, settings.model.t5, settings.dtype)
    return states.astype(jnp.float32), mask


def empty_text(settings: Any, params: dict, frozen: dict):
    """CLAP's vector or T5's state of "" [1, D], which guidance steers away from.

    Training shows it for a dropped caption, so that both are the same. An encoder in `params`
    learns from it.
    """
    model, dtype = settings.model, settings.dtype
    part = unconditional_encoder(model)
    if part in params:
        return encode_unconditional(params, model, dtype)
    if NOTHING in frozen:
        return frozen[NOTHING]
    return jax.lax.stop_gradient(encode_unconditional(frozen, model, dtype))


def dropped_vector(settings: Any, params: dict, frozen: dict, vector, kept):
    """CLAP's vector, of "" where a clip is not kept. vector: [B, D]; kept: [B]."""
    nothing = empty_text(settings, params, frozen).astype(vector.dtype)
    return where(kept, vector, jnp.broadcast_to(nothing, vector.shape))


def dropped_states(settings: Any, params: dict, frozen: dict, states, mask, kept):
    """T5's states and mask, of "" where a clip is not kept.

    states: [B, L, D]; mask: [B, L]; kept: [B].
    """
    nothing = empty_text(settings, params, frozen)
    blank = jnp.zeros_like(states).at[:, :1].set(nothing.astype(states.dtype))
    first = jnp.broadcast_to(jnp.arange(mask.shape[1]) == 0, mask.shape)
    return where(kept, states, blank), where(kept, mask, first)


def text_states(settings: Any, params: dict, frozen: dict, batch: dict):
    """T5's states or, of speech, the phoneme encoder's, which train: [B, L, D], and their mask."""
    model = settings.model
    if not model.phonemes:
        return t5_states(settings, params, frozen, batch)
    tokens, mask = batch["phonemes_tokens"], batch["phonemes_mask"]
    part, config = params["phonemes"], model.phonemes
    return phoneme_states(part, tokens, mask, config, settings.dtype), mask
