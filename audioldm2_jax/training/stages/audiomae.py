"""Masked spectrogram modelling (AudioMAE, arXiv 2207.06405)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.features.kaldi import fbank
from audioldm2_jax.models.audiomae import AudioMAE, patches_of
from audioldm2_jax.models.audiomae_decoder import AudioMAEDecoder
from audioldm2_jax.presets import AudioMAEConfig


@dataclass(frozen=True)
class Masked:
    """Settings; `share` of the patches is hidden and has to be restored; local: see the decoder."""

    config: AudioMAEConfig
    share: float = 0.8
    decoder_width: int = 512
    decoder_depth: int = 16
    decoder_heads: int = 16
    local: bool = True
    dtype: Any = jnp.float32
    remat: str = "none"

    @property
    def decoder(self) -> AudioMAEDecoder:
        return AudioMAEDecoder(
            self.config,
            self.decoder_width,
            self.decoder_depth,
            self.decoder_heads,
            self.local,
            self.dtype,
            self.remat,
        )

    @property
    def kept(self) -> int:
        """Patches that the encoder sees."""
        c = self.config
        total = (c.frames // c.patch) * (c.bins // c.patch)
        return max(1, int(total * (1 - self.share)))


def shuffled(keys, count: int):
    """A random order of the patches for each clip, and its inverse: [B, count] twice."""
    order = jax.vmap(lambda key: jax.random.permutation(key, count))(keys)
    return order, jnp.argsort(order, 1)


def masked_loss(settings: Masked) -> Callable:
    """Mean squared error of hidden patches, each normalised by its own mean and deviation."""
    c = settings.config

    def loss(params, frozen, batch, keys, step):
        bank = fbank(batch["waveform"], c.frames, c.bins)
        patches = patches_of(bank, c)
        order, inverse = shuffled(keys, patches.shape[1])
        seen = order[:, : settings.kept]
        tokens = AudioMAE(c, settings.dtype, settings.remat).apply(
            {"params": params["audiomae"]}, bank, seen, method="encode_seen"
        )
        made = settings.decoder.apply({"params": params["decoder"]}, tokens, inverse)
        mean = patches.mean(-1, keepdims=True)
        target = (patches - mean) / jnp.sqrt(patches.var(-1, keepdims=True, ddof=1) + 1e-6)
        errors = jnp.square(made.astype(jnp.float32) - target).mean(-1)
        hidden = inverse >= settings.kept
        value = jnp.sum(errors * hidden) / jnp.sum(hidden)
        return value, {}

    return loss
