"""The parts of an AudioLDM 2 checkpoint: folder, classes, model, table, and shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import configs
from audioldm2_jax.checkpoints.convert import Table
from audioldm2_jax.checkpoints.tables.audio import HIFIGAN
from audioldm2_jax.checkpoints.tables.audio import VAE as VAE_TABLE
from audioldm2_jax.checkpoints.tables.clap import CLAP as CLAP_TABLE
from audioldm2_jax.checkpoints.tables.language import GPT2 as GPT2_TABLE
from audioldm2_jax.checkpoints.tables.language import PROJECTION, T5
from audioldm2_jax.checkpoints.tables.unet import UNET
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.gpt2 import GPT2, empty_cache
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.models.sequence import SequenceProjection
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.models.vae import VAE


@dataclass(frozen=True)
class Part:
    """One model of a checkpoint.

    folder: its sub-folder in the hub layout; classes: what `model_index.json` may call it, the
    first being what we write; weights: the file we write; inputs: small arguments for `init`.
    """

    folder: str
    library: str
    classes: tuple[str, ...]
    weights: str
    model: Callable
    table: Table
    write_config: Callable
    inputs: Callable[[Any], tuple]

    def shapes(self, config) -> dict:
        """Tree of parameter shapes; nothing is computed."""
        model = self.model(config)
        return jax.eval_shape(lambda: model.init(jax.random.key(0), *self.inputs(config)))["params"]


def _ids(length: int = 4):
    return jnp.zeros((1, length), jnp.int32)


_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"

PARTS: dict[str, Part] = {
    "clap": Part(
        "text_encoder",
        "transformers",
        ("ClapModel",),
        _TRANSFORMERS_FILE,
        CLAP,
        CLAP_TABLE,
        configs.write_clap,
        lambda c: (_ids(), _ids(), jnp.zeros((1, 8, c.audio.mels))),
    ),
    "t5": Part(
        "text_encoder_2",
        "transformers",
        ("T5EncoderModel", "T5ForConditionalGeneration"),
        _TRANSFORMERS_FILE,
        T5Encoder,
        T5,
        configs.write_t5,
        lambda c: (_ids(), _ids()),
    ),
    "projection": Part(
        "projection_model",
        "audioldm2",
        ("AudioLDM2ProjectionModel",),
        _DIFFUSERS_FILE,
        SequenceProjection,
        PROJECTION,
        configs.write_projection,
        lambda c: (jnp.zeros((1, c.clap_width)), jnp.zeros((1, 4, c.text_width)), _ids()),
    ),
    "gpt2": Part(
        "language_model",
        "transformers",
        ("GPT2LMHeadModel", "GPT2Model"),
        _TRANSFORMERS_FILE,
        GPT2,
        GPT2_TABLE,
        configs.write_gpt2,
        lambda c: (jnp.zeros((1, 4, c.width)), _ids(), empty_cache(c, 1, 4), 0, _ids()),
    ),
    "unet": Part(
        "unet",
        "audioldm2",
        ("AudioLDM2UNet2DConditionModel",),
        _DIFFUSERS_FILE,
        UNet,
        UNET,
        configs.write_unet,
        lambda c: _unet_inputs(c),
    ),
    "vae": Part(
        "vae",
        "diffusers",
        ("AutoencoderKL",),
        _DIFFUSERS_FILE,
        VAE,
        VAE_TABLE,
        configs.write_vae,
        lambda c: (jnp.zeros((1, 4 * c.factor, 4 * c.factor)), jax.random.key(0)),
    ),
    "vocoder": Part(
        "vocoder",
        "transformers",
        ("SpeechT5HifiGan",),
        _TRANSFORMERS_FILE,
        HiFiGAN,
        HIFIGAN,
        configs.write_vocoder,
        lambda c: (jnp.zeros((1, 4, c.mels)),),
    ),
}


def _unet_inputs(config):
    """LOA and text of the widths that the configuration's contexts name."""
    pairs = [pair for level in config.contexts for pair in enumerate(level) if pair[1]]
    loa = next((width for place, width in pairs if place <= 1), 1)
    text = next((width for place, width in pairs if place > 1), 1)
    side = 2 ** len(config.channels)
    image = jnp.zeros((1, side, side, config.in_channels))
    return image, jnp.zeros(1), jnp.zeros((1, 4, loa)), jnp.zeros((1, 4, text))
