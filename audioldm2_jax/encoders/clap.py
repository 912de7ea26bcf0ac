"""CLAP's features of texts and of sound, in one space of unit vectors (arXiv 2211.06687)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.features.clap import clap_log_mel, fit_clip
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.presets import CLAPConfig


def clap_text_features(
    params: dict, tokens, mask, config: CLAPConfig, dtype: Any = jnp.float32
) -> jax.Array:
    """tokens, mask: [B, L] -> features [B, D] fp32, unit length."""
    return CLAP(config, dtype).apply({"params": params}, tokens, mask, method="text_features")


def clap_image_features(
    params: dict, images, longer, config: CLAPConfig, dtype: Any = jnp.float32
) -> jax.Array:
    """Features of log-mels as `features.clap.clap_images` makes them: [B, D] fp32, unit length.

    images: [B, T, F], with fusion [B, 4, T, F]; longer: [B], whether the local crops count.
    """
    variables = {"params": params}
    return CLAP(config, dtype).apply(variables, images, longer, method="audio_features")


def clap_audio_features(
    params: dict, waveform_48k, config: CLAPConfig, dtype: Any = jnp.float32
) -> jax.Array:
    """Features of the first seconds of clips. waveform_48k: [B, samples] -> [B, D] fp32."""
    front_end = config.mel
    mel = clap_log_mel(fit_clip(waveform_48k, front_end), front_end)
    longer = None
    if front_end.fusion:
        mel, longer = jnp.stack([mel] * 4, 1), jnp.zeros(mel.shape[0], bool)
    return clap_image_features(params, mel, longer, config, dtype)
