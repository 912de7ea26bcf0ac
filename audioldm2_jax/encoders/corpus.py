"""What an encoded corpus holds of a batch of clips, under its names; everything in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.encoders.clap import clap_audio_features, clap_text_features
from audioldm2_jax.encoders.latents import encode_waveform
from audioldm2_jax.encoders.loa import audiomae_loa
from audioldm2_jax.encoders.text import t5_states
from audioldm2_jax.presets import ModelConfig


def encode_audio(
    params: dict,
    batch: dict,
    config: ModelConfig,
    poolings: Sequence[int],
    dtype: Any = jnp.float32,
) -> dict[str, jax.Array]:
    """mean, logvar [B, T, F, C]; clap_audio [B, D]; loa_N [B, K, D] for each pooling N.

    batch: waveform and, if CLAP has an audio tower, waveform_48k, each [B, samples].
    """
    mean, logvar = encode_waveform(params["vae"], batch["waveform"], config, dtype)
    encoded = {"mean": mean, "logvar": logvar}
    if config.has_audio_tower:
        encoded["clap_audio"] = clap_audio_features(
            params["clap"], batch["waveform_48k"], config.clap, dtype
        )
    if poolings:
        loa = audiomae_loa(params["audiomae"], batch["waveform"], config.audiomae, poolings, dtype)
        encoded |= {f"loa_{pool}": vectors for pool, vectors in loa.items()}
    return jax.tree.map(lambda x: x.astype(jnp.float32), encoded)


def encode_texts(
    params: dict, batch: dict, config: ModelConfig, dtype: Any = jnp.float32
) -> dict[str, jax.Array]:
    """clap_text [B, D] and t5 [B, L, D], as far as the model reads them.

    batch: clap_tokens, clap_mask, t5_tokens, t5_mask, each [B, L].
    """
    encoded = {}
    if config.clap:
        encoded["clap_text"] = clap_text_features(
            params["clap"], batch["clap_tokens"], batch["clap_mask"], config.clap, dtype
        )
    if config.t5:
        states = t5_states(params["t5"], batch["t5_tokens"], batch["t5_mask"], config.t5, dtype)
        encoded["t5"] = states.astype(jnp.float32)
    return encoded
