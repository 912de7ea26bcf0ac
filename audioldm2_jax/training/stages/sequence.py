"""GPT-2 learns the language of audio, teacher-forced (AudioLDM 2, section III-B)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.data import encoders
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.gpt2 import GPT2, empty_cache, roll_out
from audioldm2_jax.models.phonemes import PhonemeEncoder
from audioldm2_jax.models.sequence import SequenceProjection, sequence_positions
from audioldm2_jax.presets import ModelConfig

ERRORS = {"l1": jnp.abs, "mse": jnp.square}


@dataclass(frozen=True)
class Sequence:
    """Settings. error: l1, as the released code has it, or mse, as the paper writes; free: weight
    of the error of a free roll-out, 0 for none.
    """

    model: ModelConfig
    pooling: int = 8
    error: str = "l1"
    free: float = 0.0
    dtype: Any = jnp.float32
    remat: str = "none"

    def __post_init__(self):
        if self.error not in ERRORS:
            raise InputError(f"error {self.error!r}: choose one of {' '.join(ERRORS)}")


def conditions(settings: Sequence, params: dict, frozen: dict, batch: dict):
    """(CLAP's vector [B, D], states [B, L, D], their mask), by the model's encoders."""
    model, dtype = settings.model, settings.dtype
    found = {k: batch[k] for k in ("clap_text", "t5", "t5_mask") if k in batch}
    if "clap_text" not in found or (model.t5 and "t5" not in found):
        found = jax.lax.stop_gradient(encoders.encode_texts(frozen, batch, model, dtype)) | found
    if not model.phonemes:
        return found["clap_text"], found["t5"], found["t5_mask"]
    tokens, mask = batch["phonemes_tokens"], batch["phonemes_mask"]
    encoder = PhonemeEncoder(model.phonemes, dtype)
    states = encoder.apply({"params": params["phonemes"]}, tokens, mask)
    return found["clap_text"], states, mask


def forced(settings: Sequence, params: dict, sequence, kept, lengths, truth):
    """What GPT-2 makes of the true prefix at every place: [B, L, D].

    sequence: [B, S, D] of conditions, kept: its mask, lengths: of the texts; truth: [B, L, D].
    """
    model, count = settings.model, truth.shape[1]
    batch, start, _ = sequence.shape
    whole = jnp.concatenate([sequence, truth[:, :-1].astype(sequence.dtype)], 1)
    front = sequence_positions(start - 5, lengths)
    after = front[:, -1:] + 1 + jnp.arange(count - 1)
    positions = jnp.concatenate([front, after], 1)
    mask = jnp.concatenate([kept, jnp.ones((batch, count - 1), bool)], 1)
    cache = empty_cache(model.gpt2, batch, whole.shape[1], settings.dtype)
    gpt2 = GPT2(model.gpt2, settings.dtype, settings.remat)
    states, _ = gpt2.apply({"params": params["gpt2"]}, whole, positions, cache, 0, mask)
    return states[:, start - 1 :]


def sequence_loss(settings: Sequence) -> Callable:
    model, error = settings.model, ERRORS[settings.error]

    def loss(params, frozen, batch, keys, step):
        if f"loa_{settings.pooling}" in batch:
            truth = batch[f"loa_{settings.pooling}"]
        else:
            pools = (settings.pooling,)
            found = encoders.encode_loa(frozen, batch["waveform"], model, pools, settings.dtype)
            truth = jax.lax.stop_gradient(found[settings.pooling].astype(jnp.float32))
        vector, states, mask = conditions(settings, params, frozen, batch)
        sequence, kept = SequenceProjection(model.projection, settings.dtype).apply(
            {"params": params["projection"]}, vector, states, mask
        )
        # Of speech every phoneme slot counts; its padding is part of the sequence.
        full = jnp.full(mask.shape[0], mask.shape[1], jnp.int32)
        lengths = full if model.phonemes else mask.sum(-1)
        made = forced(settings, params, sequence, kept, lengths, truth)
        value = error(made.astype(jnp.float32) - truth).mean()
        metrics = {"forced": value, "mean": error(truth - truth.mean((0, 1))).mean()}
        if settings.free:
            gpt2 = GPT2(model.gpt2, settings.dtype, settings.remat)
            positions = sequence_positions(sequence.shape[1] - 5, lengths)
            rolled = roll_out(
                gpt2, params["gpt2"], sequence, kept, positions, tokens=truth.shape[1]
            )
            metrics["free"] = error(rolled.astype(jnp.float32) - truth).mean()
            value = value + settings.free * metrics["free"]
        return value, metrics

    return loss
