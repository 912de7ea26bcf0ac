"""The parts that checkpoints are made of: folder, classes, model, table, and shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import configs
from audioldm2_jax.checkpoints.convert import Table
from audioldm2_jax.checkpoints.tables import audio, audiomae, clap, language, panns, unet
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.audiomae import AudioMAE
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.gpt2 import GPT2, empty_cache
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.models.loa_projection import LOAProjection
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.models.phoneme_encoder import PhonemeEncoder
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.presets import ModelConfig


@dataclass(frozen=True)
class Part:
    """One model of a checkpoint.

    folder: its sub-folder in the hub layout; classes: what `model_index.json` may call it, the
    first being what we write unless `written_class` knows better; weights: the file we write;
    table: conversion for a configuration; inputs: small arguments for `init`.
    """

    folder: str
    library: str
    classes: tuple[str, ...]
    weights: str
    model: Callable
    table: Callable[[Any], Table]
    write_config: Callable
    inputs: Callable[[Any], tuple]

    def shapes(self, config, where: str = "") -> dict:
        """Tree of parameter shapes; nothing is computed.

        where: the file that the configuration is of. Raises InputError where its entries do not fit
        together.
        """
        try:
            return jax.tree.map(lambda shape: shape, _shapes(self, config))
        except Exception as error:  # whatever layers answer to sizes that make no model
            where = where or f"{self.folder}/config.json"
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise InputError(
                f"{where}: its entries do not fit together ({reason[0][:200]})"
            ) from None


@functools.cache
def _shapes(part: Part, config) -> dict:
    """Kept: tracing a large network takes seconds."""
    model = part.model(config)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *part.inputs(config)))["params"]


def parts_of(config: ModelConfig) -> list[str]:
    """Names of the parts that a model has."""
    return [name for name in PARTS if getattr(config, name) is not None]


def written_class(name: str, config: ModelConfig) -> tuple[str, str]:
    """(library, class) under which a part of a model is written."""
    part = PARTS[name]
    if name == "unet" and config.unet.plain:
        return "diffusers", "UNet2DConditionModel"
    if name == "clap" and config.family == "audioldm":
        return part.library, "ClapTextModelWithProjection"
    return part.library, part.classes[0]


def _ids(length: int = 4):
    return jnp.zeros((1, length), jnp.int32)


def _clap_inputs(config):
    """Fewest frames that the audio tower takes; none without one."""
    if config.audio is None:
        return _ids(), _ids()
    shape = (1, 4, 8, config.audio.mels) if config.audio.fusion else (1, 8, config.audio.mels)
    return _ids(), _ids(), jnp.zeros(shape), jnp.ones(1, bool)


def _projection_inputs(config):
    length = config.positions or 4
    text = jnp.zeros((1, length, config.text_width))
    return jnp.zeros((1, config.clap_width)), text, _ids(length)


def _unet_inputs(config):
    """Streams of the widths that the configuration's contexts name."""
    pairs = [pair for level in config.contexts for pair in enumerate(level) if pair[1]]
    first = next((width for place, width in pairs if place <= 1), 1)
    second = next((width for place, width in pairs if place > 1), 1)
    side = 2 ** len(config.channels)
    image = jnp.zeros((1, side, side, config.in_channels))
    streams = (jnp.zeros((1, 4, first)), jnp.zeros((1, 4, second)))
    film = jnp.zeros((1, config.film)) if config.film else None
    return image, jnp.zeros(1), streams, (None, None), film


_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"

PARTS: dict[str, Part] = {
    "clap": Part(
        "text_encoder",
        "transformers",
        ("ClapModel", "ClapTextModelWithProjection"),
        _TRANSFORMERS_FILE,
        CLAP,
        lambda c: clap.CLAP,
        configs.write_clap,
        _clap_inputs,
    ),
    "t5": Part(
        "text_encoder_2",
        "transformers",
        ("T5EncoderModel", "T5ForConditionalGeneration"),
        _TRANSFORMERS_FILE,
        T5Encoder,
        lambda c: language.T5,
        configs.write_t5,
        lambda c: (_ids(), _ids()),
    ),
    "phonemes": Part(
        "text_encoder_2",
        "transformers",
        ("VitsModel",),
        _TRANSFORMERS_FILE,
        PhonemeEncoder,
        lambda c: language.PHONEMES,
        configs.write_phonemes,
        lambda c: (_ids(), _ids()),
    ),
    "projection": Part(
        "projection_model",
        "audioldm2",
        ("AudioLDM2ProjectionModel",),
        _DIFFUSERS_FILE,
        LOAProjection,
        lambda c: language.PROJECTION,
        configs.write_projection,
        _projection_inputs,
    ),
    "gpt2": Part(
        "language_model",
        "transformers",
        ("GPT2LMHeadModel", "GPT2Model"),
        _TRANSFORMERS_FILE,
        GPT2,
        lambda c: language.GPT2,
        configs.write_gpt2,
        lambda c: (jnp.zeros((1, 4, c.width)), _ids(), empty_cache(c, 1, 4), 0, _ids()),
    ),
    "unet": Part(
        "unet",
        "audioldm2",
        ("AudioLDM2UNet2DConditionModel", "UNet2DConditionModel"),
        _DIFFUSERS_FILE,
        UNet,
        unet.unet_table,
        configs.write_unet,
        _unet_inputs,
    ),
    "vae": Part(
        "vae",
        "diffusers",
        ("AutoencoderKL",),
        _DIFFUSERS_FILE,
        VAE,
        lambda c: audio.VAE,
        configs.write_vae,
        lambda c: (jnp.zeros((1, 4 * c.factor, 4 * c.factor)), jax.random.key(0)),
    ),
    "vocoder": Part(
        "vocoder",
        "transformers",
        ("SpeechT5HifiGan",),
        _TRANSFORMERS_FILE,
        HiFiGAN,
        lambda c: audio.HIFIGAN,
        configs.write_vocoder,
        lambda c: (jnp.zeros((1, 4, c.mels)),),
    ),
    # Beside the published layout: the encoder whose features the LOA is trained on.
    "audiomae": Part(
        "audiomae",
        "timm",
        ("VisionTransformer",),
        _TRANSFORMERS_FILE,
        AudioMAE,
        lambda c: audiomae.AUDIOMAE,
        configs.write_audiomae,
        lambda c: (jnp.zeros((1, c.frames, c.bins)),),
    ),
}

# Models that are no part of a checkpoint that generates.
SINGLES = PARTS | {
    "panns": Part(
        "panns",
        "panns",
        ("Cnn14",),
        _TRANSFORMERS_FILE,
        Cnn14,
        panns.panns_table,
        configs.write_panns,
        lambda c: (jnp.zeros((1, 2 ** len(c.channels), c.mels)),),
    ),
}
