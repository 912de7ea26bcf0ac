"""Masked spectrogram modelling (AudioMAE, arXiv 2207.06405)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.features.kaldi import fbank
from audioldm2_jax.models.audiomae import AudioMAE, patches_of
from audioldm2_jax.models.audiomae_decoder import AudioMAEDecoder
from audioldm2_jax.presets import AudioMAEConfig
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import BatchSpec, Loss, Stage, StageInfo, StageSpec, TrainableGroup

# Position embeddings are fixed sinusoids.
_POSITIONS = (r"/positions$",)


@dataclass(frozen=True)
class AudioMAESettings(StageSettings):
    """mask_ratio: share of hidden patches, which the decoder restores; local_attention: the decoder
    attends within windows.
    """

    mask_ratio: float = setting(0.8, 0.01, 0.99)
    decoder_width: int = setting(512, 1)
    decoder_depth: int = setting(16, 1)
    decoder_heads: int = setting(16, 1)
    local_attention: bool = setting(True)

    @property
    def config(self) -> AudioMAEConfig:
        """AudioMAE's configuration; the published one where the model has none."""
        return self.model.audiomae or AudioMAEConfig()

    @property
    def decoder(self) -> AudioMAEDecoder:
        """The decoder that restores the hidden patches; training alone needs it."""
        return AudioMAEDecoder(
            self.config,
            self.decoder_width,
            self.decoder_depth,
            self.decoder_heads,
            self.local_attention,
            self.dtype,
            self.remat,
        )

    @property
    def patches(self) -> int:
        """Patches of a clip."""
        c = self.config
        return (c.frames // c.patch) * (c.bins // c.patch)

    @property
    def visible_patches(self) -> int:
        """Patches that the encoder sees."""
        return max(1, int(self.patches * (1 - self.mask_ratio)))


def shuffle(keys, count: int):
    """A random order of the patches for each clip, and its inverse: [B, count] twice."""
    order = jax.vmap(lambda key: jax.random.permutation(key, count))(keys)
    return order, jnp.argsort(order, 1)


def masked_loss(settings: AudioMAESettings) -> Loss:
    """Mean squared error of hidden patches, each normalised by its own mean and deviation."""
    c = settings.config

    def loss(params, frozen, batch, keys, step):
        bank = fbank(batch["waveform"], c.frames, c.bins)
        patches = patches_of(bank, c)
        order, inverse = shuffle(keys, patches.shape[1])
        visible = order[:, : settings.visible_patches]
        tokens = AudioMAE(c, settings.dtype, settings.remat).apply(
            {"params": params["audiomae"]}, bank, visible, method="encode_seen"
        )
        prediction = settings.decoder.apply({"params": params["decoder"]}, tokens, inverse)
        mean = patches.mean(-1, keepdims=True)
        target = (patches - mean) / jnp.sqrt(patches.var(-1, keepdims=True, ddof=1) + 1e-6)
        errors = jnp.square(prediction.astype(jnp.float32) - target).mean(-1)
        hidden = inverse >= settings.visible_patches
        value = jnp.sum(errors * hidden) / jnp.sum(hidden)
        return value, {}

    return loss


def build(settings: AudioMAESettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    config = settings.config
    if settings.decoder_width % settings.decoder_heads:
        raise InputError("settings.decoder_width: it must be a multiple of settings.decoder_heads")

    def decoder(key):
        tokens = jnp.zeros((1, 1 + settings.visible_patches, config.width))
        inverse = jnp.zeros((1, settings.patches), jnp.int32)
        return settings.decoder.init(key, tokens, inverse)["params"]

    init = init_parts({"audiomae": init_part("audiomae", config), "decoder": decoder})
    parts = ("audiomae", "decoder")
    group = TrainableGroup(parts, masked_loss(settings), optim, _POSITIONS)
    return StageSpec(
        Stage("audiomae", init, {"model": group}),
        BatchSpec(16000, settings.seconds),
        init_from_base=("audiomae",),
        exports=("audiomae",),
    )


STAGE = StageInfo(
    name="audiomae",
    settings=AudioMAESettings,
    build=build,
    trains=(
        "AudioMAE: 80 % of the patches hidden; encoder, and a decoder that attends within windows"
    ),
    on_vae_grid=False,
)
