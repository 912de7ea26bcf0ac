"""Names of the authors' modules, one table for each part, as the hub layout has in `tables/`."""

from __future__ import annotations

from audioldm2_jax.checkpoints.convert import (
    BATCH_NORM,
    CONV1D,
    CONV2D,
    EMBEDDING,
    LINEAR,
    NORM,
    PLAIN,
    POINTWISE,
    POINTWISE1D,
    TRANSPOSED,
    UNSQUEEZED,
    VITS_NORM,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.tables.clap import bert_rules, embedding_rules
from audioldm2_jax.checkpoints.tables.unet import time_rules, transformer_rules
from audioldm2_jax.presets import HiFiGANConfig, UNetConfig, VAEConfig

# A U-Net's modules outside its blocks.
_OUTSIDE = ("time_embed.0", "time_embed.2", "film_emb", "out.0", "out.2")


def unet_table(config: UNetConfig) -> Table:
    """CompVis' UNetModel: blocks numbered through, each a list of layers."""
    last, layers = len(config.channels) - 1, config.layers
    rules = [
        Rule("input_blocks.0.0", "conv_in", CONV2D),
        Rule("time_embed.0", "time_up", LINEAR),
        Rule("time_embed.2", "time_down", LINEAR),
        Rule("film_emb", "film_in", LINEAR),
        Rule("out.0", "norm_out", NORM),
        Rule("out.2", "conv_out", CONV2D),
    ]

    def layer(source, stage, index, places):
        """A residual block and the transformers behind it."""
        rules.extend(_resnet(f"{source}.0", f"{stage}/resnets_{index}", config.film > 0))
        for place in range(places):
            target = f"{stage}/transformers_{index * places + place}"
            rules.extend(transformer_rules(f"{source}.{1 + place}", target))

    def places(level):
        return len(config.contexts[level]) if config.attention[level] else 0

    block = 0
    for level in range(last + 1):
        for index in range(layers):
            block += 1
            layer(f"input_blocks.{block}", f"down_{level}", index, places(level))
        if level < last:
            block += 1
            rules.append(Rule(f"input_blocks.{block}.0.op", f"down_{level}/downsample", CONV2D))
    middle = len(config.contexts[last])
    layer("middle_block", "mid", 0, middle)
    rules.extend(_resnet(f"middle_block.{1 + middle}", "mid/resnets_1", config.film > 0))
    for i, level in enumerate(range(last, -1, -1)):
        for index in range(layers + 1):
            block = i * (layers + 1) + index
            layer(f"output_blocks.{block}", f"up_{i}", index, places(level))
        if level:
            source = f"output_blocks.{block}.{1 + places(level)}.conv"
            rules.append(Rule(source, f"up_{i}/upsample", CONV2D))
    return Table(tuple(rules))


def unet_rules() -> list[Rule]:
    """Every kind of module that a U-Net of any configuration has, blocks and layers as {}.

    Their targets are of no use.
    """
    rules = [Rule(name, "", LINEAR) for name in _OUTSIDE]
    for block in ("input_blocks.{}.{}", "output_blocks.{}.{}", "middle_block.{}"):
        rules += [*_resnet(block, "", False), *transformer_rules(block, "")]
        rules += [Rule(f"{block}{layer}", "", CONV2D) for layer in ("", ".op", ".conv")]
    return rules


def _resnet(source: str, target: str, filmed: bool) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.in_layers.0", f"{target}/norm_in", NORM),
        Rule(f"{source}.in_layers.2", f"{target}/conv_in", CONV2D),
        *time_rules(f"{source}.emb_layers.1", target, filmed),
        Rule(f"{source}.out_layers.0", f"{target}/norm_out", NORM),
        Rule(f"{source}.out_layers.3", f"{target}/conv_out", CONV2D),
        Rule(f"{source}.skip_connection", f"{target}/shortcut", POINTWISE),
    )


def vae_table(config: VAEConfig) -> Table:
    """CompVis' AutoencoderKL; its decoder counts levels from the finest."""
    last = len(config.channels) - 1
    levels = [(f"encoder.down.{i}", f"encoder/down_{i}") for i in range(last + 1)]
    levels += [(f"decoder.up.{last - i}", f"decoder/up_{i}") for i in range(last + 1)]
    rules = []
    for source, target in levels:
        rules.extend(_vae_resnet(f"{source}.block.{{}}", f"{target}_resnets_{{}}"))
    for i in range(last):
        rules.append(Rule(f"encoder.down.{i}.downsample.conv", f"encoder/downsample_{i}", CONV2D))
        rules.append(Rule(f"decoder.up.{last - i}.upsample.conv", f"decoder/upsample_{i}", CONV2D))
    for coder in ("encoder", "decoder"):
        attention = (("q", "query"), ("k", "key"), ("v", "value"), ("proj_out", "out"))
        rules += [
            Rule(f"{coder}.conv_in", f"{coder}/conv_in", CONV2D),
            *_vae_resnet(f"{coder}.mid.block_1", f"{coder}/mid/resnets_0"),
            Rule(f"{coder}.mid.attn_1.norm", f"{coder}/mid/norm", NORM),
            *(
                Rule(f"{coder}.mid.attn_1.{there}", f"{coder}/mid/attention/{here}", POINTWISE)
                for there, here in attention
            ),
            *_vae_resnet(f"{coder}.mid.block_2", f"{coder}/mid/resnets_1"),
            Rule(f"{coder}.norm_out", f"{coder}/norm_out", NORM),
            Rule(f"{coder}.conv_out", f"{coder}/conv_out", CONV2D),
        ]
    rules.append(Rule("quant_conv", "quant", POINTWISE))
    rules.append(Rule("post_quant_conv", "post_quant", POINTWISE))
    return Table(tuple(rules))


def _vae_resnet(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.norm1", f"{target}/norm_in", NORM),
        Rule(f"{source}.conv1", f"{target}/conv_in", CONV2D),
        Rule(f"{source}.norm2", f"{target}/norm_out", NORM),
        Rule(f"{source}.conv2", f"{target}/conv_out", CONV2D),
        Rule(f"{source}.nin_shortcut", f"{target}/shortcut", POINTWISE),
    )


def vocoder_table(config: HiFiGANConfig) -> Table:
    """HiFi-GAN's generator, weight norm already folded in; `mean` and `scale` are transformers'."""
    return Table(
        (
            Rule("mean", "mean", PLAIN),
            Rule("scale", "scale", PLAIN),
            Rule("conv_pre", "conv_in", CONV1D),
            Rule("ups.{}", "upsample_{}", TRANSPOSED),
            Rule("resblocks.{}.convs1.{}", "blocks_{}/dilated_{}", CONV1D),
            Rule("resblocks.{}.convs2.{}", "blocks_{}/plain_{}", CONV1D),
            Rule("conv_post", "conv_out", CONV1D),
        )
    )


_TEXT, _AUDIO = "text_branch", "audio_branch"
_BLOCK, _SWIN = f"{_AUDIO}.layers.{{}}.blocks.{{}}", "audio/stages_{}_blocks_{}"
_QKV = tuple(f"{_SWIN}/attention/{name}" for name in ("query", "key", "value"))

CLAP = Table(
    rules=(
        Rule("logit_scale_t", "text_logit_scale", PLAIN),
        Rule("logit_scale_a", "audio_logit_scale", PLAIN),
        *bert_rules(_TEXT),
        Rule(f"{_AUDIO}.bn0", "audio/norm_mel", BATCH_NORM),
        *embedding_rules(f"{_AUDIO}.patch_embed"),
        Rule(f"{_BLOCK}.norm1", f"{_SWIN}/norm_attention", NORM),
        Rule(f"{_BLOCK}.attn.qkv", _QKV, LINEAR),
        Rule(f"{_BLOCK}.attn.proj", f"{_SWIN}/attention/out", LINEAR),
        Rule(f"{_BLOCK}.attn.relative_position_bias_table", f"{_SWIN}/positions", PLAIN),
        Rule(f"{_BLOCK}.norm2", f"{_SWIN}/norm_mlp", NORM),
        Rule(f"{_BLOCK}.mlp.fc1", f"{_SWIN}/mlp/up", LINEAR),
        Rule(f"{_BLOCK}.mlp.fc2", f"{_SWIN}/mlp/down", LINEAR),
        Rule(
            f"{_AUDIO}.layers.{{}}.downsample.reduction", "audio/stages_{}_merge/reduction", LINEAR
        ),
        Rule(f"{_AUDIO}.layers.{{}}.downsample.norm", "audio/stages_{}_merge/norm", NORM),
        Rule(f"{_AUDIO}.norm", "audio/norm", NORM),
        *(
            Rule(f"{tower}_projection.{i}", f"{tower}_projection/{name}", LINEAR)
            for tower in ("text", "audio")
            for i, name in ((0, "up"), (2, "down"))
        ),
    ),
    # Front end, tagging head and the classifier's transforms: no part of the features.
    ignored=(
        r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*",
        r"(text|audio)_transform\..*",
        r".*\.(position_ids|token_type_ids|relative_position_index|attn_mask|num_batches_tracked)",
    ),
)

_ENCODER = "text_encoder.encoder"
_ATTENTION = f"{_ENCODER}.attn_layers.{{}}"

PHONEMES = Table(
    rules=(
        Rule("text_encoder.emb", "tokens", EMBEDDING),
        *(
            Rule(f"{_ATTENTION}.conv_{there}", f"blocks_{{}}/attention/{here}", POINTWISE1D)
            for there, here in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
        ),
        Rule(f"{_ATTENTION}.emb_rel_k", "blocks_{}/attention/distance_keys", UNSQUEEZED),
        Rule(f"{_ATTENTION}.emb_rel_v", "blocks_{}/attention/distance_values", UNSQUEEZED),
        Rule(f"{_ENCODER}.norm_layers_1.{{}}", "blocks_{}/norm_attention", VITS_NORM),
        Rule(f"{_ENCODER}.ffn_layers.{{}}.conv_1", "blocks_{}/mlp_up", CONV1D),
        Rule(f"{_ENCODER}.ffn_layers.{{}}.conv_2", "blocks_{}/mlp_down", CONV1D),
        Rule(f"{_ENCODER}.norm_layers_2.{{}}", "blocks_{}/norm_mlp", VITS_NORM),
    ),
    # The position table belongs to the projection here; the prior's statistics go unread.
    ignored=(r"text_encoder\.proj\..*", r"learnable_positional_embedding"),
)
