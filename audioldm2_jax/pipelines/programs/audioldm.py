"""AudioLDM and MusicLDM: CLAP's features condition the U-Net's residual blocks (FiLM)."""

from __future__ import annotations

from typing import Any

from audioldm2_jax.pipelines.programs.shared import Conditioning, clap_features
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import ModelConfig


def encode_texts(config: ModelConfig, dtype: Any, params: dict, texts: Texts) -> Conditioning:
    """The U-Net's conditioning of R texts; it attends to none of them."""
    features = clap_features(config, dtype, params, texts)
    return Conditioning((None, None), (None, None), features, features)
