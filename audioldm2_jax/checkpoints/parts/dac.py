"""Descript's audio codec: transformers' DacModel, and the authors' weights*.pth."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import DEPTH, ROWS, transformers_entries
from audioldm2_jax.checkpoints.convert import (
    CONV1D,
    CONV1D_TRANSPOSE,
    EMBEDDING,
    POINTWISE1D,
    Kind,
    Layout,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    named_classes,
)
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import Weights, fold_weight_norm
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.dac import DAC
from audioldm2_jax.presets import DACConfig

_CLASS = "DacModel"
_MAX_HOP, _MAX_RATE = 1 << 14, 768_000
# {(strides, levels): sample rate in Hz} of the authors' files, which may not say it.
_AUTHORS_RATES = {
    ((2, 4, 5, 8), 12): 16000,
    ((2, 4, 5, 8), 32): 24000,
    ((2, 4, 8, 8), 9): 44100,
    ((2, 4, 8, 8), 18): 44100,
}


def read_config(files: PartFiles) -> DACConfig:
    """transformers' DacConfig; its hop_length is not read, since published files err there.

    Raises InputError.
    """
    entries = transformers_entries("DacConfig", files.content, files.where)
    strides = entries.integers("downsampling_ratios", high=64)
    width = entries.integer("encoder_hidden_size", None)
    # The class derives these two from the ones above, unless the file says them.
    for name, value in (
        ("hidden_size", width * 2 ** len(strides)),
        ("upsampling_ratios", list(reversed(strides))),
    ):
        if files.content.get(name) is None:
            entries.content[name] = value
    if entries.integers("upsampling_ratios", high=64) != tuple(reversed(strides)):
        entries.refuse("upsampling_ratios", f"downsampling_ratios {list(strides)} in reverse")
    config = DACConfig(
        sample_rate=entries.integer("sampling_rate", None, high=_MAX_RATE),
        width=width,
        decoder_width=entries.integer("decoder_hidden_size", None),
        strides=strides,
        latent=entries.integer("hidden_size", None),
        levels=entries.integer("n_codebooks", None, high=DEPTH),
        codebook=entries.integer("codebook_size", None, high=ROWS),
        codebook_width=entries.integer("codebook_dim", None),
    )
    _check(config, files.where)
    return config


def _check(config: DACConfig, where: str) -> None:
    """Raises InputError for sizes that do not fit together."""
    c, halvings = config, len(config.strides)
    if c.hop > _MAX_HOP:
        raise InputError(f"{where}: strides {list(c.strides)} make frames of {c.hop} samples")
    if c.decoder_width % 2**halvings:
        raise InputError(
            f"{where}: the decoder's width {c.decoder_width} is no multiple of {2**halvings}"
        )
    if c.codebook_width >= c.latent:
        raise InputError(
            f"{where}: codebook_dim {c.codebook_width} is not below the latents' width {c.latent}"
        )


def write_config(config: DACConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {
        "architectures": [_CLASS],
        "model_type": "dac",
        "sampling_rate": config.sample_rate,
        "encoder_hidden_size": config.width,
        "decoder_hidden_size": config.decoder_width,
        "downsampling_ratios": list(config.strides),
        "upsampling_ratios": list(reversed(config.strides)),
        "hidden_size": config.latent,
        "hop_length": config.hop,
        "n_codebooks": config.levels,
        "codebook_size": config.codebook,
        "codebook_dim": config.codebook_width,
    }
    return PartFiles(content, kind=_CLASS)


SNAKE: Kind = {"alpha": ("alpha", Layout(lambda x: x[0, :, 0], lambda x: x[None, :, None]))}
_UNIT = (
    ("snake1", "snake_in", SNAKE),
    ("conv1", "conv_in", CONV1D),
    ("snake2", "snake_out", SNAKE),
    ("conv2", "conv_out", CONV1D),
)
_LEVEL = (
    Rule("quantizer.quantizers.{}.in_proj", "quantizer/levels_{}/project_in", POINTWISE1D),
    Rule("quantizer.quantizers.{}.out_proj", "quantizer/levels_{}/project_out", POINTWISE1D),
    Rule("quantizer.quantizers.{}.codebook", "quantizer/levels_{}/codebook", EMBEDDING),
)


def _side(side: str, resampling: Rule) -> tuple[Rule, ...]:
    """transformers' names of the encoder or the decoder."""
    block, ours = f"{side}.block.{{}}", f"{side}/blocks_{{}}"
    return (
        Rule(f"{side}.conv1", f"{side}/conv_in", CONV1D),
        *(
            Rule(f"{block}.res_unit{i + 1}.{name}", f"{ours}/units_{i}/{target}", kind)
            for i in range(3)
            for name, target, kind in _UNIT
        ),
        Rule(f"{block}.snake1", f"{ours}/snake", SNAKE),
        resampling,
        Rule(f"{side}.snake1", f"{side}/snake", SNAKE),
        Rule(f"{side}.conv2", f"{side}/conv_out", CONV1D),
    )


TABLE = Table(
    rules=(
        *_side("encoder", Rule("encoder.block.{}.conv1", "encoder/blocks_{}/downsample", CONV1D)),
        *_LEVEL,
        *_side(
            "decoder",
            Rule("decoder.block.{}.conv_t1", "decoder/blocks_{}/upsample", CONV1D_TRANSPOSE),
        ),
    ),
    # Of files that were saved while the class trained.
    fold=fold_weight_norm,
)


def authors_table(config: DACConfig) -> Table:
    """Descript's names: numbers in lists of layers, weight norm folded in."""
    encoder, decoder, depth = "encoder.block", "decoder.model", len(config.strides)
    rules = list(_LEVEL)
    for side, names in (("encoder", encoder), ("decoder", decoder)):
        rules += [
            Rule(f"{names}.0", f"{side}/conv_in", CONV1D),
            Rule(f"{names}.{depth + 1}", f"{side}/snake", SNAKE),
            Rule(f"{names}.{depth + 2}", f"{side}/conv_out", CONV1D),
        ]
    for i in range(depth):
        # Of the encoder: three units, Snake, convolution; of the decoder the units come last.
        down, up = f"{encoder}.{i + 1}.block", f"{decoder}.{i + 1}.block"
        rules += [
            Rule(f"{down}.3", f"encoder/blocks_{i}/snake", SNAKE),
            Rule(f"{down}.4", f"encoder/blocks_{i}/downsample", CONV1D),
            Rule(f"{up}.0", f"decoder/blocks_{i}/snake", SNAKE),
            Rule(f"{up}.1", f"decoder/blocks_{i}/upsample", CONV1D_TRANSPOSE),
        ]
        rules += [
            Rule(f"{names}.{first + unit}.block.{j}", f"{side}/blocks_{i}/units_{unit}/{to}", kind)
            for side, names, first in (("encoder", down, 0), ("decoder", up, 2))
            for unit in range(3)
            for j, (_, to, kind) in enumerate(_UNIT)
        ]
    return Table(rules=tuple(rules))


def read_shapes(shapes: Shapes) -> DACConfig:
    """The configuration of an authors' file, its weight norm folded in. Raises InputError."""
    depth = shapes.count("encoder.block.{}.") - 3
    strides = tuple(shapes[f"encoder.block.{i + 1}.block.4.weight"][-1] // 2 for i in range(depth))
    levels = shapes.count("quantizer.quantizers.{}.")
    if not strides or min(strides) < 1 or depth > 8 or levels > DEPTH:
        raise InputError(f"{shapes.where}: {depth} blocks of strides {strides} are of no DAC")
    decoder_width, latent = shapes["decoder.model.0.weight"][:2]
    codebook, codebook_width = shapes["quantizer.quantizers.0.codebook.weight"]
    stated = shapes.weights.metadata.get("metadata.kwargs.sample_rate", "")
    rate = int(stated) if stated.isdecimal() else _AUTHORS_RATES.get((strides, levels), 0)
    if not 1 <= rate <= _MAX_RATE:
        raise InputError(
            f"{shapes.where}: metadata.kwargs.sample_rate is {stated or 'missing'}, and strides "
            f"{strides} with {levels} codebooks are of no published codec"
        )
    config = DACConfig(
        sample_rate=rate,
        width=shapes["encoder.block.0.weight"][0],
        decoder_width=decoder_width,
        strides=strides,
        latent=latent,
        levels=levels,
        codebook=codebook,
        codebook_width=codebook_width,
    )
    _check(config, shapes.where)
    return config


def _gather(parts: Mapping[str, Weights], path) -> Weights:
    return fold_weight_norm(parts["dac"], str(path))


PART = Part(
    name="dac",
    folder="codec",
    classes={_CLASS: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=DAC,
    inputs=lambda config: (jnp.zeros((1, 2 * config.hop, 1)),),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    describes=lambda content: _CLASS in named_classes(content),
    authors=AuthorsPart(
        mark="quantizer.quantizers.0.codebook.weight",
        partner="decoder.model.0.bias",
        table=authors_table,
        read_shapes=read_shapes,
        gather=_gather,
    ),
)
