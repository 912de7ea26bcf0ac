"""diffusers' AudioLDM2UNet2DConditionModel and UNet2DConditionModel, named alike."""

from audioldm2_jax.checkpoints.convert import (
    CONV2D,
    LINEAR,
    MATRIX,
    NORM,
    PLAIN,
    POINTWISE,
    Rule,
    Table,
)
from audioldm2_jax.presets import UNetConfig


def time_rules(source: str, target: str, filmed: bool) -> tuple[Rule, ...]:
    """The projection of the time embedding; with FiLM, of the conditioning vector's behind it."""
    if not filmed:
        return (Rule(source, f"{target}/time", LINEAR),)
    halves = (f"{target}/time/kernel", f"{target}/film/kernel")
    return (
        Rule(f"{source}.weight", halves, MATRIX, axis=0),
        Rule(f"{source}.bias", f"{target}/time/bias", PLAIN),
    )


def resnet_rules(source: str, target: str, filmed: bool = False) -> tuple[Rule, ...]:
    """diffusers' ResnetBlock2D."""
    return (
        Rule(f"{source}.norm1", f"{target}/norm_in", NORM),
        Rule(f"{source}.conv1", f"{target}/conv_in", CONV2D),
        *time_rules(f"{source}.time_emb_proj", target, filmed),
        Rule(f"{source}.norm2", f"{target}/norm_out", NORM),
        Rule(f"{source}.conv2", f"{target}/conv_out", CONV2D),
        Rule(f"{source}.conv_shortcut", f"{target}/shortcut", POINTWISE),
    )


def attention_rules(source: str, target: str) -> tuple[Rule, ...]:
    """diffusers' Attention."""
    names = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "out"))
    return tuple(Rule(f"{source}.{there}", f"{target}/{here}", LINEAR) for there, here in names)


def transformer_rules(there: str, here: str) -> tuple[Rule, ...]:
    """diffusers' Transformer2DModel, named as the authors' SpatialTransformer."""
    block, inner = f"{there}.transformer_blocks.{{}}", f"{here}/blocks_{{}}"
    return (
        Rule(f"{there}.norm", f"{here}/norm", NORM),
        Rule(f"{there}.proj_in", f"{here}/project_in", POINTWISE),
        Rule(f"{there}.proj_out", f"{here}/project_out", POINTWISE),
        Rule(f"{block}.norm1", f"{inner}/norm_attention", NORM),
        *attention_rules(f"{block}.attn1", f"{inner}/attention"),
        Rule(f"{block}.norm2", f"{inner}/norm_cross", NORM),
        *attention_rules(f"{block}.attn2", f"{inner}/cross"),
        Rule(f"{block}.norm3", f"{inner}/norm_mlp", NORM),
        # GEGLU: the value's half comes first, the gate's second.
        Rule(f"{block}.ff.net.0.proj", (f"{inner}/mlp/up", f"{inner}/mlp/gate"), LINEAR),
        Rule(f"{block}.ff.net.2", f"{inner}/mlp/down", LINEAR),
    )


def unet_table(config: UNetConfig) -> Table:
    filmed = config.film > 0

    def stage(source, target):
        return (
            *resnet_rules(f"{source}.resnets.{{}}", f"{target}/resnets_{{}}", filmed),
            *transformer_rules(f"{source}.attentions.{{}}", f"{target}/transformers_{{}}"),
        )

    return Table(
        rules=(
            Rule("conv_in", "conv_in", CONV2D),
            Rule("time_embedding.linear_1", "time_up", LINEAR),
            Rule("time_embedding.linear_2", "time_down", LINEAR),
            Rule("class_embedding", "film_in", LINEAR),
            *stage("down_blocks.{}", "down_{}"),
            Rule("down_blocks.{}.downsamplers.0.conv", "down_{}/downsample", CONV2D),
            *stage("mid_block", "mid"),
            *stage("up_blocks.{}", "up_{}"),
            Rule("up_blocks.{}.upsamplers.0.conv", "up_{}/upsample", CONV2D),
            Rule("conv_norm_out", "norm_out", NORM),
            Rule("conv_out", "conv_out", CONV2D),
        )
    )
