"""The language of audio (LOA): AudioMAE's features of sound, and GPT-2's of conditions.

AudioLDM 2, sections III-A and III-B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.features.kaldi import fbank
from audioldm2_jax.models.audiomae import AudioMAE, pool_loa
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.loa_projection import LOAProjection, sequence_positions
from audioldm2_jax.presets import AudioMAEConfig, GPT2Config, ModelConfig, ProjectionConfig


def check_poolings(config: ModelConfig, poolings: Sequence[int]) -> None:
    """Raises InputError if AudioMAE cannot make the LOA of these poolings for the model."""
    mae = config.audiomae
    if poolings and mae is None:
        raise InputError("the checkpoint holds no AudioMAE, which makes the LOA: leave out --loa")
    if poolings and config.vocoder.sample_rate != 16000:
        raise InputError("AudioMAE hears 16 kHz, the model another rate: leave out --loa")
    for pool in poolings:
        if (mae.frames // mae.patch) % pool or (mae.bins // mae.patch) % pool:
            raise InputError(f"--loa {pool}: the grid of patches cannot be pooled {pool} x {pool}")


def audiomae_loa(
    params: dict,
    waveform,
    config: AudioMAEConfig,
    poolings: Sequence[int] = (8,),
    dtype: Any = jnp.float32,
) -> dict[int, jax.Array]:
    """The ground-truth LOA. waveform: [B, samples] at 16 kHz -> {pooling: [B, K, D]}."""
    bank = fbank(waveform, config.frames, config.bins)
    tokens = AudioMAE(config, dtype).apply({"params": params}, bank)
    return {pool: pool_loa(tokens, config, pool, pool) for pool in poolings}


class LMInputs(NamedTuple):
    """GPT-2's prefix. embeddings: [B, S, D]; mask (True = keep) and positions: [B, S]."""

    embeddings: jax.Array
    mask: jax.Array
    positions: jax.Array


def lm_inputs(
    params: dict,
    clap_features,
    text_states,
    mask,
    lengths,
    config: ProjectionConfig,
    dtype: Any = jnp.float32,
) -> LMInputs:
    """Projects the conditions to GPT-2's prefix of S = L + 5 vectors.

    clap_features: [B, D]; text_states: [B, L, D] of T5 or the phoneme encoder, mask: [B, L];
    lengths: [B], how many text slots the positions count.
    """
    embeddings, mask = LOAProjection(config, dtype).apply(
        {"params": params}, clap_features, text_states, mask
    )
    return LMInputs(embeddings, mask, sequence_positions(text_states.shape[1], lengths))


def generate_loa(
    params: dict,
    inputs: LMInputs,
    config: GPT2Config,
    dtype: Any = jnp.float32,
    *,
    tokens: int | None = None,
) -> jax.Array:
    """Rolls GPT-2 out: [B, K, D]. tokens: K; None is the model's own number."""
    tokens = config.tokens if tokens is None else tokens
    return roll_out(
        GPT2(config, dtype),
        params,
        inputs.embeddings,
        inputs.mask,
        inputs.positions,
        tokens=tokens,
    )
