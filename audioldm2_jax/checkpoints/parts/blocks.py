"""Conversion rules that several parts share: attention, and the blocks of U-Net and VAE."""

from __future__ import annotations

from collections.abc import Sequence

from audioldm2_jax.checkpoints.convert import (
    CONV2D,
    LINEAR,
    MATRIX,
    NORM,
    PLAIN,
    POINTWISE,
    Kind,
    Rule,
)

# diffusers' Attention.
DIFFUSERS_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def time_rules(source: str, target: str, film: bool) -> tuple[Rule, ...]:
    """The projection of the time embedding; with FiLM also of the conditioning vector behind it."""
    if not film:
        return (Rule(source, f"{target}/time", LINEAR),)
    halves = (f"{target}/time/kernel", f"{target}/film/kernel")
    return (
        Rule(f"{source}.weight", halves, MATRIX, axis=0),
        Rule(f"{source}.bias", f"{target}/time/bias", PLAIN),
    )


def resnet_rules(source: str, target: str, film: bool = False) -> tuple[Rule, ...]:
    """diffusers' ResnetBlock2D."""
    return (
        Rule(f"{source}.norm1", f"{target}/norm_in", NORM),
        Rule(f"{source}.conv1", f"{target}/conv_in", CONV2D),
        *time_rules(f"{source}.time_emb_proj", target, film),
        Rule(f"{source}.norm2", f"{target}/norm_out", NORM),
        Rule(f"{source}.conv2", f"{target}/conv_out", CONV2D),
        Rule(f"{source}.conv_shortcut", f"{target}/shortcut", POINTWISE),
    )


def authors_resnet_rules(source: str, target: str, film: bool) -> tuple[Rule, ...]:
    """CompVis' ResBlock, of the U-Net."""
    return (
        Rule(f"{source}.in_layers.0", f"{target}/norm_in", NORM),
        Rule(f"{source}.in_layers.2", f"{target}/conv_in", CONV2D),
        *time_rules(f"{source}.emb_layers.1", target, film),
        Rule(f"{source}.out_layers.0", f"{target}/norm_out", NORM),
        Rule(f"{source}.out_layers.3", f"{target}/conv_out", CONV2D),
        Rule(f"{source}.skip_connection", f"{target}/shortcut", POINTWISE),
    )


def attention_rules(
    source: str, target: str, names: Sequence[str], kind: Kind = LINEAR
) -> tuple[Rule, ...]:
    """The projections of an attention. names: the source's, of query, key, value and output."""
    targets = (*qkv(target), f"{target}/out")
    return tuple(Rule(f"{source}.{name}", path, kind) for name, path in zip(names, targets))


def qkv(target: str) -> tuple[str, ...]:
    """Our three projections of an attention, which some sources store as one matrix."""
    return tuple(f"{target}/{name}" for name in ("query", "key", "value"))


def transformer_rules(source: str, target: str, projection: Kind = POINTWISE) -> tuple[Rule, ...]:
    """diffusers' Transformer2DModel, named as the authors' SpatialTransformer.

    projection: how the source stores the layers around the blocks; LINEAR where diffusers'
    `use_linear_projection` is set.
    """
    block, inner = f"{source}.transformer_blocks.{{}}", f"{target}/blocks_{{}}"
    return (
        Rule(f"{source}.norm", f"{target}/norm", NORM),
        Rule(f"{source}.proj_in", f"{target}/project_in", projection),
        Rule(f"{source}.proj_out", f"{target}/project_out", projection),
        Rule(f"{block}.norm1", f"{inner}/norm_attention", NORM),
        *attention_rules(f"{block}.attn1", f"{inner}/attention", DIFFUSERS_ATTENTION),
        Rule(f"{block}.norm2", f"{inner}/norm_cross", NORM),
        *attention_rules(f"{block}.attn2", f"{inner}/cross", DIFFUSERS_ATTENTION),
        Rule(f"{block}.norm3", f"{inner}/norm_mlp", NORM),
        # GEGLU: the first half is the value, the second half the gate.
        Rule(f"{block}.ff.net.0.proj", (f"{inner}/mlp/up", f"{inner}/mlp/gate"), LINEAR),
        Rule(f"{block}.ff.net.2", f"{inner}/mlp/down", LINEAR),
    )


def lstm_rules(source: str, target: str) -> tuple[Rule, ...]:
    """torch's LSTM."""
    return (
        Rule(f"{source}.weight_ih_l{{}}", f"{target}/layers_{{}}_input/kernel", MATRIX),
        Rule(f"{source}.bias_ih_l{{}}", f"{target}/layers_{{}}_input/bias", PLAIN),
        Rule(f"{source}.weight_hh_l{{}}", f"{target}/layers_{{}}_state_kernel", MATRIX),
        Rule(f"{source}.bias_hh_l{{}}", f"{target}/layers_{{}}_state_bias", PLAIN),
    )
