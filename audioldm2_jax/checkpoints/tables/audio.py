"""diffusers' AutoencoderKL and transformers' SpeechT5HifiGan."""

from audioldm2_jax.checkpoints.convert import (
    CONV1D,
    CONV2D,
    NORM,
    PLAIN,
    POINTWISE,
    TRANSPOSED,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.tables.unet import attention_rules, resnet_rules


def _coder(source, blocks, target, level):
    """What encoder and decoder share; `level` is "down" or "up"."""
    mid = f"{source}.mid_block"
    return (
        Rule(f"{source}.conv_in", f"{target}/conv_in", CONV2D),
        *resnet_rules(
            f"{source}.{blocks}.{{}}.resnets.{{}}", f"{target}/{level}_{{}}_resnets_{{}}"
        ),
        Rule(
            f"{source}.{blocks}.{{}}.{level}samplers.0.conv", f"{target}/{level}sample_{{}}", CONV2D
        ),
        *resnet_rules(f"{mid}.resnets.{{}}", f"{target}/mid/resnets_{{}}"),
        Rule(f"{mid}.attentions.0.group_norm", f"{target}/mid/norm", NORM),
        *attention_rules(f"{mid}.attentions.0", f"{target}/mid/attention"),
        Rule(f"{source}.conv_norm_out", f"{target}/norm_out", NORM),
        Rule(f"{source}.conv_out", f"{target}/conv_out", CONV2D),
    )


VAE = Table(
    rules=(
        *_coder("encoder", "down_blocks", "encoder", "down"),
        *_coder("decoder", "up_blocks", "decoder", "up"),
        Rule("quant_conv", "quant", POINTWISE),
        Rule("post_quant_conv", "post_quant", POINTWISE),
    ),
    # Names of the attention before diffusers 0.18.
    renames=(
        (r"\.mid_block\.attentions\.0\.query\.", ".mid_block.attentions.0.to_q."),
        (r"\.mid_block\.attentions\.0\.key\.", ".mid_block.attentions.0.to_k."),
        (r"\.mid_block\.attentions\.0\.value\.", ".mid_block.attentions.0.to_v."),
        (r"\.mid_block\.attentions\.0\.proj_attn\.", ".mid_block.attentions.0.to_out.0."),
    ),
)


HIFIGAN = Table(
    rules=(
        Rule("mean", "mean", PLAIN),
        Rule("scale", "scale", PLAIN),
        Rule("conv_pre", "conv_in", CONV1D),
        Rule("upsampler.{}", "upsample_{}", TRANSPOSED),
        Rule("resblocks.{}.convs1.{}", "blocks_{}/dilated_{}", CONV1D),
        Rule("resblocks.{}.convs2.{}", "blocks_{}/plain_{}", CONV1D),
        Rule("conv_post", "conv_out", CONV1D),
    )
)
