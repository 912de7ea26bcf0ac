"""AudioLDM with T5, and TANGO: the U-Net attends to T5's states; CLAP only ranks candidates."""

from __future__ import annotations

from typing import Any

from audioldm2_jax.encoders.clap import clap_text_features
from audioldm2_jax.encoders.text import t5_states
from audioldm2_jax.pipelines.programs.shared import Conditioning
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import ModelConfig


def encode_texts(config: ModelConfig, dtype: Any, params: dict, texts: Texts) -> Conditioning:
    """The U-Net's conditioning of R texts. A checkpoint without CLAP has no features."""
    features = None
    if config.clap:
        features = clap_text_features(
            params["clap"], texts.clap, texts.clap_mask, config.clap, dtype
        )
    states = t5_states(params["t5"], texts.text, texts.text_mask, config.t5, dtype)
    return Conditioning((states, None), (texts.text_mask, None), None, features)
