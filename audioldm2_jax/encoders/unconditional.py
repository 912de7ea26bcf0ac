"""The condition of an empty text, which classifier-free guidance steers away from.

Training shows it in place of a dropped condition, and sampling uses the same.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.encoders.clap import clap_text_features
from audioldm2_jax.encoders.text import t5_states
from audioldm2_jax.presets import ModelConfig

# The tokens of "": T5's end symbol; RoBERTa's start and end.
T5_EMPTY, CLAP_EMPTY = (1,), (0, 2)


def unconditional_encoder(config: ModelConfig) -> str:
    """The part that encodes "": CLAP where the U-Net takes its vector, else T5.

    Speech models have neither (""): their unconditional states are zeros.
    """
    return "clap" if config.unet.film else "t5" if config.t5 else ""


def encode_unconditional(params: dict, config: ModelConfig, dtype: Any = jnp.float32) -> jax.Array:
    """The U-Net's text condition for "": CLAP's features or T5's state, [1, D] fp32.

    params: by part; only `unconditional_encoder`'s is read.
    """
    part = unconditional_encoder(config)
    tokens = jnp.asarray([CLAP_EMPTY if part == "clap" else T5_EMPTY], jnp.int32)
    mask = jnp.ones(tokens.shape, bool)
    if part == "clap":
        return clap_text_features(params["clap"], tokens, mask, config.clap, dtype)
    return t5_states(params["t5"], tokens, mask, config.t5, dtype)[0].astype(jnp.float32)
