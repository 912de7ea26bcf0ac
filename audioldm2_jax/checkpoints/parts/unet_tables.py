"""Conversion tables of the U-Net: diffusers' two classes, and CompVis' UNetModel."""

from __future__ import annotations

from audioldm2_jax.checkpoints.convert import (
    CONV2D,
    LINEAR,
    NORM,
    POINTWISE,
    Kind,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.blocks import (
    authors_resnet_rules,
    resnet_rules,
    transformer_rules,
)
from audioldm2_jax.presets import UNetConfig


def table(config: UNetConfig, projection: Kind = POINTWISE) -> Table:
    """diffusers' names, which both classes share. projection: as of `transformer_rules`."""
    film = config.film > 0

    def level(source, target):
        return (
            *resnet_rules(f"{source}.resnets.{{}}", f"{target}/resnets_{{}}", film),
            *transformer_rules(
                f"{source}.attentions.{{}}", f"{target}/transformers_{{}}", projection
            ),
        )

    return Table(
        rules=(
            Rule("conv_in", "conv_in", CONV2D),
            Rule("time_embedding.linear_1", "time_up", LINEAR),
            Rule("time_embedding.linear_2", "time_down", LINEAR),
            Rule("class_embedding", "film_in", LINEAR),
            *level("down_blocks.{}", "down_{}"),
            Rule("down_blocks.{}.downsamplers.0.conv", "down_{}/downsample", CONV2D),
            *level("mid_block", "mid"),
            *level("up_blocks.{}", "up_{}"),
            Rule("up_blocks.{}.upsamplers.0.conv", "up_{}/upsample", CONV2D),
            Rule("conv_norm_out", "norm_out", NORM),
            Rule("conv_out", "conv_out", CONV2D),
        )
    )


# The authors' modules outside the U-Net's blocks.
_AUTHORS_OUTER = ("time_embed.0", "time_embed.2", "film_emb", "out.0", "out.2")


def authors_table(config: UNetConfig) -> Table:
    """CompVis' UNetModel: blocks numbered through, each a list of layers."""
    last, layers, film = len(config.channels) - 1, config.layers, config.film > 0
    rules = [
        Rule("input_blocks.0.0", "conv_in", CONV2D),
        Rule("time_embed.0", "time_up", LINEAR),
        Rule("time_embed.2", "time_down", LINEAR),
        Rule("film_emb", "film_in", LINEAR),
        Rule("out.0", "norm_out", NORM),
        Rule("out.2", "conv_out", CONV2D),
    ]

    def layer(source, target, index, count):
        """A residual block and the `count` transformers behind it."""
        rules.extend(authors_resnet_rules(f"{source}.0", f"{target}/resnets_{index}", film))
        for i in range(count):
            name = f"{target}/transformers_{index * count + i}"
            rules.extend(transformer_rules(f"{source}.{1 + i}", name))

    def transformers(level):
        return len(config.contexts[level]) if config.attention[level] else 0

    block = 0
    for level in range(last + 1):
        for index in range(layers):
            block += 1
            layer(f"input_blocks.{block}", f"down_{level}", index, transformers(level))
        if level < last:
            block += 1
            rules.append(Rule(f"input_blocks.{block}.0.op", f"down_{level}/downsample", CONV2D))
    middle = len(config.contexts[last])
    layer("middle_block", "mid", 0, middle)
    rules.extend(authors_resnet_rules(f"middle_block.{1 + middle}", "mid/resnets_1", film))
    for i, level in enumerate(range(last, -1, -1)):
        for index in range(layers + 1):
            block = i * (layers + 1) + index
            layer(f"output_blocks.{block}", f"up_{i}", index, transformers(level))
        if level:
            source = f"output_blocks.{block}.{1 + transformers(level)}.conv"
            rules.append(Rule(source, f"up_{i}/upsample", CONV2D))
    return Table(tuple(rules))


def authors_rules() -> list[Rule]:
    """Rules for every module of a U-Net of any configuration, with {} for blocks and layers.

    Only their sources are used; the targets are empty.
    """
    rules = [Rule(name, "", LINEAR) for name in _AUTHORS_OUTER]
    for block in ("input_blocks.{}.{}", "output_blocks.{}.{}", "middle_block.{}"):
        rules += [*authors_resnet_rules(block, "", False), *transformer_rules(block, "")]
        rules += [Rule(f"{block}{layer}", "", CONV2D) for layer in ("", ".op", ".conv")]
    return rules
