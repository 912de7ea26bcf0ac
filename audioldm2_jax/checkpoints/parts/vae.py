"""The mel autoencoder: diffusers' AutoencoderKL."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import (
    DIFFUSERS_VERSION,
    Entries,
    groups_of,
    require,
)
from audioldm2_jax.checkpoints.convert import CONV2D, NORM, POINTWISE, Rule, Table
from audioldm2_jax.checkpoints.parts.base import (
    DIFFUSERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    named_classes,
)
from audioldm2_jax.checkpoints.parts.blocks import (
    DIFFUSERS_ATTENTION,
    attention_rules,
    resnet_rules,
)
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.presets import VAEConfig

_CLASS = "AutoencoderKL"


def read_config(files: PartFiles) -> VAEConfig:
    """diffusers' configuration. Raises InputError."""
    entries = Entries(files.content, files.where)
    channels = entries.integers("block_out_channels", (64,))
    mels = entries.integer("in_channels", 3, high=1024)
    require(
        files.content,
        files.where,
        act_fn="silu",
        out_channels=mels,
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        use_quant_conv=True,
        use_post_quant_conv=True,
        mid_block_add_attention=True,
        shift_factor=None,
        latents_mean=None,
        latents_std=None,
    )
    return VAEConfig(
        mel_channels=mels,
        latent_channels=entries.integer("latent_channels", 4, high=1024),
        channels=channels,
        layers=entries.integer("layers_per_block", 1, high=16),
        groups=groups_of(entries, channels),
        scale=entries.number("scaling_factor", 0.18215, 1e-6, 1e6),
    )


def write_config(config: VAEConfig) -> PartFiles:
    """The inverse of `read_config`."""
    levels = len(config.channels)
    content = {
        "_class_name": _CLASS,
        "_diffusers_version": DIFFUSERS_VERSION,
        "in_channels": config.mel_channels,
        "out_channels": config.mel_channels,
        "latent_channels": config.latent_channels,
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": config.layers,
        "norm_num_groups": config.groups,
        "scaling_factor": config.scale,
        "act_fn": "silu",
        "sample_size": 1024,
    }
    return PartFiles(content, kind=_CLASS)


def _coder_rules(source, blocks, target, level):
    """Rules for the encoder (`level` is "down") or the decoder ("up")."""
    mid, block = f"{source}.mid_block", f"{source}.{blocks}.{{}}"
    return (
        Rule(f"{source}.conv_in", f"{target}/conv_in", CONV2D),
        *resnet_rules(f"{block}.resnets.{{}}", f"{target}/{level}_{{}}_resnets_{{}}"),
        Rule(f"{block}.{level}samplers.0.conv", f"{target}/{level}sample_{{}}", CONV2D),
        *resnet_rules(f"{mid}.resnets.{{}}", f"{target}/mid/resnets_{{}}"),
        Rule(f"{mid}.attentions.0.group_norm", f"{target}/mid/norm", NORM),
        *attention_rules(f"{mid}.attentions.0", f"{target}/mid/attention", DIFFUSERS_ATTENTION),
        Rule(f"{source}.conv_norm_out", f"{target}/norm_out", NORM),
        Rule(f"{source}.conv_out", f"{target}/conv_out", CONV2D),
    )


_QUANT = (Rule("quant_conv", "quant", POINTWISE), Rule("post_quant_conv", "post_quant", POINTWISE))

TABLE = Table(
    rules=(
        *_coder_rules("encoder", "down_blocks", "encoder", "down"),
        *_coder_rules("decoder", "up_blocks", "decoder", "up"),
        *_QUANT,
    ),
    # Names of the attention before diffusers 0.18.
    renames=(
        (r"\.mid_block\.attentions\.0\.query\.", ".mid_block.attentions.0.to_q."),
        (r"\.mid_block\.attentions\.0\.key\.", ".mid_block.attentions.0.to_k."),
        (r"\.mid_block\.attentions\.0\.value\.", ".mid_block.attentions.0.to_v."),
        (r"\.mid_block\.attentions\.0\.proj_attn\.", ".mid_block.attentions.0.to_out.0."),
    ),
)


def authors_table(config: VAEConfig) -> Table:
    """CompVis' AutoencoderKL. Its decoder counts levels from the finest."""
    last = len(config.channels) - 1
    levels = [(f"encoder.down.{i}", f"encoder/down_{i}") for i in range(last + 1)]
    levels += [(f"decoder.up.{last - i}", f"decoder/up_{i}") for i in range(last + 1)]
    rules = list(_QUANT)
    for source, target in levels:
        rules.extend(_authors_resnet(f"{source}.block.{{}}", f"{target}_resnets_{{}}"))
    for i in range(last):
        rules.append(Rule(f"encoder.down.{i}.downsample.conv", f"encoder/downsample_{i}", CONV2D))
        rules.append(Rule(f"decoder.up.{last - i}.upsample.conv", f"decoder/upsample_{i}", CONV2D))
    attention = ("q", "k", "v", "proj_out")
    for coder in ("encoder", "decoder"):
        rules += [
            Rule(f"{coder}.conv_in", f"{coder}/conv_in", CONV2D),
            *_authors_resnet(f"{coder}.mid.block_1", f"{coder}/mid/resnets_0"),
            Rule(f"{coder}.mid.attn_1.norm", f"{coder}/mid/norm", NORM),
            *attention_rules(f"{coder}.mid.attn_1", f"{coder}/mid/attention", attention, POINTWISE),
            *_authors_resnet(f"{coder}.mid.block_2", f"{coder}/mid/resnets_1"),
            Rule(f"{coder}.norm_out", f"{coder}/norm_out", NORM),
            Rule(f"{coder}.conv_out", f"{coder}/conv_out", CONV2D),
        ]
    return Table(tuple(rules))


def _authors_resnet(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.norm1", f"{target}/norm_in", NORM),
        Rule(f"{source}.conv1", f"{target}/conv_in", CONV2D),
        Rule(f"{source}.norm2", f"{target}/norm_out", NORM),
        Rule(f"{source}.conv2", f"{target}/conv_out", CONV2D),
        Rule(f"{source}.nin_shortcut", f"{target}/shortcut", POINTWISE),
    )


def read_shapes(shapes: Shapes) -> VAEConfig:
    """The configuration of an authors' file, whose `scale_factor` lies beside the VAE."""
    levels = shapes.count("encoder.down.{}.")
    return VAEConfig(
        mel_channels=shapes["encoder.conv_in.weight"][1],
        latent_channels=shapes["post_quant_conv.weight"][0],
        channels=tuple(shapes[f"encoder.down.{i}.block.0.conv2.weight"][0] for i in range(levels)),
        layers=shapes.count("encoder.down.0.block.{}."),
        scale=shapes.constants.get("scale_factor", 1.0),
    )


def _gather(parts: Mapping[str, Weights], path) -> Weights:
    """Without what training puts beside the autoencoder: losses, discriminators."""
    starts, content = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv."), parts["vae"]
    return content.renamed({name: name for name in content if name.startswith(starts)})


def _inputs(config: VAEConfig) -> tuple:
    return jnp.zeros((1, 4 * config.factor, 4 * config.factor)), jax.random.key(0)


PART = Part(
    name="vae",
    folder="vae",
    classes={_CLASS: "diffusers"},
    weights=DIFFUSERS_FILE,
    model=VAE,
    inputs=_inputs,
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    describes=lambda content: _CLASS in named_classes(content),
    authors=AuthorsPart(
        mark="encoder.conv_in.weight",
        partner="decoder.conv_in.weight",
        table=authors_table,
        read_shapes=read_shapes,
        gather=_gather,
    ),
)
