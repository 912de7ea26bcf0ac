"""CLAP, one embedding space of text and audio (arXiv 2211.06687; reference: ClapModel)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.htsat import HTSAT
from audioldm2_jax.models.roberta import Roberta
from audioldm2_jax.presets import CLAPConfig


class Projection(nn.Module):
    """Linear, ReLU, linear. x: [B, D] -> [B, width]."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = nn.relu(Dense(self.width, dtype=self.dtype, name="up")(x))
        return Dense(self.width, dtype=self.dtype, name="down")(x)


class CLAP(nn.Module):
    """Both towers, or the text's alone if `config.audio` is None; features have unit length."""

    config: CLAPConfig
    dtype: Any = jnp.float32
    remat: str = "none"

    def setup(self):
        c = self.config
        self.text = Roberta(c.text, self.dtype, self.remat)
        self.text_projection = Projection(c.width, self.dtype)
        if c.audio:
            self.audio = HTSAT(c.audio, self.dtype, self.remat)
            self.audio_projection = Projection(c.width, self.dtype)
        if c.scales:
            self.text_logit_scale = self.param("text_logit_scale", nn.initializers.zeros, ())
            self.audio_logit_scale = self.param("audio_logit_scale", nn.initializers.zeros, ())

    def text_features(self, tokens, mask):
        """tokens, mask: [B, L] -> [B, width] fp32."""
        return _normalise(self.text_projection(self.text(tokens, mask)))

    def audio_features(self, mel, longer=None):
        """mel: [B, T, F] in dB (see `features.clap.clap_log_mel`) -> [B, width] fp32.

        With fusion mel is [B, 4, T, F], and longer [B] tells which clips use their local crops.
        """
        return _normalise(self.audio_projection(self.audio(mel, longer)))

    def __call__(self, tokens, mask, mel=None, longer=None):
        """Cosine similarities times the learned scale, [texts, clips]; text features if no mel."""
        text = self.text_features(tokens, mask)
        if mel is None:
            return text
        scale = jnp.exp(self.text_logit_scale) if self.config.scales else 1.0
        return scale * text @ self.audio_features(mel, longer).T


def _normalise(x):
    x = x.astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
