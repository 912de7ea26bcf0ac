"""States of the text encoders: T5's of a prompt, the phoneme encoder's of a transcription."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.models.phoneme_encoder import PhonemeEncoder
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.presets import PhonemeConfig, T5Config


def t5_states(params: dict, tokens, mask, config: T5Config, dtype: Any = jnp.float32) -> jax.Array:
    """tokens, mask: [B, L] -> T5's last hidden states [B, L, D] in `dtype`."""
    return T5Encoder(config, dtype).apply({"params": params}, tokens, mask)


def phoneme_states(
    params: dict, tokens, mask, config: PhonemeConfig, dtype: Any = jnp.float32
) -> jax.Array:
    """tokens, mask: [B, L] -> the phoneme encoder's states [B, L, D], zeros where mask is False."""
    return PhonemeEncoder(config, dtype).apply({"params": params}, tokens, mask)
