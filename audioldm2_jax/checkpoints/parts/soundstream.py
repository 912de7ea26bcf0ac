"""SoundStream in our own layout: no weights of the published AudioLM are public."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import DEPTH, WIDTH, Entries
from audioldm2_jax.checkpoints.convert import CONV1D, CONV1D_TRANSPOSE, EMBEDDING, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles
from audioldm2_jax.models.codecs.soundstream import SoundStream
from audioldm2_jax.presets import SoundStreamConfig

_ARCHITECTURE = "SoundStream"
_MAX_HOP, _MAX_RATE, _MAX_REACH = 1 << 14, 768_000, 1 << 12
# Tokens are stored as uint16.
_CODEBOOK = 1 << 16


def read_config(files: PartFiles) -> SoundStreamConfig:
    """Our own config.json, whose entries are the fields of SoundStreamConfig. Raises InputError."""
    entries, default = Entries(files.content, files.where), SoundStreamConfig()
    half = WIDTH >> len(entries.integers("strides", default.strides, high=64))
    decoder_filters = entries.get("decoder_filters")
    if decoder_filters is not None:
        decoder_filters = entries.integer("decoder_filters", None, high=half)
    config = SoundStreamConfig(
        sample_rate=entries.integer("sample_rate", default.sample_rate, high=_MAX_RATE),
        channels=entries.integer("channels", default.channels, high=2),
        strides=entries.integers("strides", default.strides, high=64),
        filters=entries.integer("filters", default.filters, high=half),
        decoder_filters=decoder_filters,
        width=entries.integer("width", default.width),
        levels=entries.integer("levels", default.levels, high=DEPTH),
        codebook=entries.integer("codebook", default.codebook, high=_CODEBOOK),
        units=entries.integer("units", default.units, high=8),
        dilation_growth=entries.integer("dilation_growth", default.dilation_growth, high=64),
        kernel=entries.integer("kernel", default.kernel, high=64),
    )
    if config.hop > _MAX_HOP:
        entries.refuse("strides", f"a product up to {_MAX_HOP}")
    if config.dilation_growth ** (config.units - 1) * config.kernel > _MAX_REACH:
        entries.refuse("dilation_growth", f"a kernel's reach up to {_MAX_REACH} frames")
    return config


def write_config(config: SoundStreamConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = dataclasses.asdict(config) | {"strides": list(config.strides)}
    return PartFiles({"architecture": _ARCHITECTURE} | content, kind=_ARCHITECTURE)


def _side(side: str) -> tuple[Rule, ...]:
    """The rules of the encoder or of the decoder."""
    unit = f"{side}.blocks.{{}}.{{}}", f"{side}/blocks_{{}}_{{}}"
    return (
        Rule(f"{side}.conv_in", f"{side}/conv_in", CONV1D),
        Rule(f"{unit[0]}.conv_in", f"{unit[1]}/conv_in", CONV1D),
        Rule(f"{unit[0]}.conv_out", f"{unit[1]}/conv_out", CONV1D),
        Rule(f"{side}.conv_out", f"{side}/conv_out", CONV1D),
    )


TABLE = Table(
    rules=(
        *_side("encoder"),
        Rule("encoder.downsample.{}", "encoder/downsample_{}", CONV1D),
        *_side("decoder"),
        Rule("decoder.upsample.{}", "decoder/upsample_{}", CONV1D_TRANSPOSE),
        Rule("quantizer.levels.{}", "quantizer/levels_{}/codebook", EMBEDDING),
    )
)

PART = Part(
    name="soundstream",
    folder="codec",
    classes={_ARCHITECTURE: "audioldm2_jax"},
    weights=TRANSFORMERS_FILE,
    model=SoundStream,
    inputs=lambda config: (jnp.zeros((1, config.hop, config.channels)),),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    describes=lambda content: content.get("architecture") == _ARCHITECTURE,
)
