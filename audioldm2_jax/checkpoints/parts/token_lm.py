"""AudioLM's three language models, in our own layout: no published one exists."""

from __future__ import annotations

import dataclasses

from audioldm2_jax.checkpoints.config_entries import DEPTH, ROWS, WIDTH, Entries, require
from audioldm2_jax.checkpoints.convert import EMBEDDING, LINEAR, MATRIX, NORM, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles, token_ids
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.models.layers import ACTIVATIONS
from audioldm2_jax.models.token_lm import TokenLM
from audioldm2_jax.presets import DecoderConfig, TokenLMConfig
from audioldm2_jax.presets.language import NORMS, POSITIONS

# Codes are stored as uint16.
_CODEBOOK, _LEVELS = 1 << 16, 64


def read_decoder(entries: Entries) -> DecoderConfig:
    """The fields of DecoderConfig, without attention to a context. Raises InputError."""
    default = DecoderConfig()
    require(entries.content, entries.where, cross=False)
    positions = entries.choice("positions", default.positions, POSITIONS)
    width = entries.integer("width", default.width)
    head_width = entries.integer("head_width", default.head_width)
    for name, value, kind in (("width", width, "sinusoidal"), ("head_width", head_width, "rope")):
        if positions == kind and (value % 2 or value < 4):
            entries.refuse(name, f"an even number from 4 on, with {kind} positions,")
    buckets = entries.integer("buckets", default.buckets, 2)
    scale = entries.get("scale")
    return DecoderConfig(
        width=width,
        depth=entries.integer("depth", default.depth, high=DEPTH),
        heads=entries.integer("heads", default.heads, high=1024),
        head_width=head_width,
        hidden=entries.integer("hidden", default.hidden, high=4 * WIDTH),
        activation=entries.choice("activation", default.activation, tuple(ACTIVATIONS)),
        gated=entries.flag("gated", default.gated),
        bias=entries.flag("bias", default.bias),
        norm=entries.choice("norm", default.norm, NORMS),
        eps=entries.number("eps", default.eps, high=1),
        positions=positions,
        buckets=buckets,
        distance=entries.integer("distance", default.distance, buckets // 2 + 1, ROWS),
        theta=entries.number("theta", default.theta, low=1),
        scale=None if scale is None else entries.number("scale", 1.0, low=1e-6),
    )


def read_config(files: PartFiles) -> TokenLMConfig:
    """Our own config.json, whose entries are the fields of TokenLMConfig. Raises InputError."""
    entries = Entries(files.content, files.where)
    stage = _STAGES.get(files.content.get("architecture"))
    if stage is None:
        entries.refuse("architecture", f"one of {' '.join(_STAGES)}")
    require(files.content, files.where, stage=stage)
    fine = stage == "fine"
    levels = 0 if stage == "semantic" else entries.integer("levels", None, 1 + fine, _LEVELS)
    return TokenLMConfig(
        stage=stage,
        semantic=0 if fine else entries.integer("semantic", None, 1, _CODEBOOK),
        codebook=entries.integer("codebook", None, 1, _CODEBOOK) if levels else 0,
        levels=levels,
        given=entries.integer("given", None, 1, levels - 1) if fine else 0,
        max_tokens=entries.integer("max_tokens", None, 2 + max(1, levels), ROWS),
        decoder=read_decoder(Entries(entries.get("decoder", {}), f"{files.where}: decoder")),
    )


def write_config(config: TokenLMConfig) -> PartFiles:
    """The inverse of `read_config`."""
    kind = next(kind for kind, stage in _STAGES.items() if stage == config.stage)
    return PartFiles({"architecture": kind} | dataclasses.asdict(config), kind=kind)


_BLOCK, _OURS = "decoder.blocks.{}", "decoder/blocks_{}"

TABLE = Table(
    rules=(
        Rule("tokens", "tokens", EMBEDDING),
        Rule("decoder.positions", "decoder/positions", EMBEDDING),
        *attention_rules(
            f"{_BLOCK}.attention", f"{_OURS}/attention", ("query", "key", "value", "out")
        ),
        *(
            Rule(f"{_BLOCK}.mlp.{name}", f"{_OURS}/mlp/{name}", LINEAR)
            for name in ("up", "gate", "down")
        ),
        *(
            Rule(f"{_BLOCK}.{name}", f"{_OURS}/{name}", NORM)
            for name in ("norm_attention", "norm_mlp")
        ),
        Rule("decoder.norm", "decoder/norm", NORM),
        Rule("head.weight", "head", MATRIX),
    )
)

# {class in model_index.json, and the architecture in config.json: stage}
_STAGES = {"SemanticLM": "semantic", "CoarseLM": "coarse", "FineLM": "fine"}


def _part(kind: str, stage: str) -> Part:
    return Part(
        name=f"{stage}_lm",
        folder=f"{stage}_lm",
        classes={kind: "audioldm2_jax"},
        weights=TRANSFORMERS_FILE,
        model=TokenLM,
        inputs=lambda config: (token_ids(),),
        read=read_config,
        write=write_config,
        table=lambda config: TABLE,
        describes=lambda content: content.get("architecture") == kind,
    )


SEMANTIC, COARSE, FINE = (_part(kind, stage) for kind, stage in _STAGES.items())
