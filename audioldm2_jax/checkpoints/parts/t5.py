"""T5's encoder, with gated feed-forwards (FLAN-T5) or plain ones: transformers' T5EncoderModel."""

from __future__ import annotations

from audioldm2_jax.checkpoints.config_entries import DEPTH, ROWS, WIDTH, transformers_entries
from audioldm2_jax.checkpoints.convert import EMBEDDING, LINEAR, NORM, Rule, Table
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    TokenizerSpec,
    token_ids,
)
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.presets import T5Config

# {transformers' feed_forward_proj: (whether it is gated, its activation)}.
_FEED_FORWARDS = {"gated-gelu": (True, "gelu_new"), "relu": (False, "relu")}


def read_config(files: PartFiles) -> T5Config:
    """transformers' T5Config. Raises InputError."""
    entries = transformers_entries("T5Config", files.content, files.where)
    kind = entries.choice("feed_forward_proj", "relu", tuple(_FEED_FORWARDS))
    gated, activation = _FEED_FORWARDS[kind]
    buckets = entries.integer("relative_attention_num_buckets", 32, 4)
    return T5Config(
        vocab=entries.integer("vocab_size", None, high=ROWS),
        width=entries.integer("d_model", None),
        depth=entries.integer("num_layers", None, high=DEPTH),
        heads=entries.integer("num_heads", None, high=1024),
        head_width=entries.integer("d_kv", None),
        hidden=entries.integer("d_ff", None, high=4 * WIDTH),
        buckets=buckets,
        distance=entries.integer("relative_attention_max_distance", 128, buckets // 2 + 1),
        activation=activation,
        gated=gated,
        eps=entries.number("layer_norm_epsilon", 1e-6, high=1),
    )


def write_config(config: T5Config) -> PartFiles:
    """The inverse of `read_config`."""
    kinds = {values: kind for kind, values in _FEED_FORWARDS.items()}
    content = {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "vocab_size": config.vocab,
        "d_model": config.width,
        "num_layers": config.depth,
        "num_heads": config.heads,
        "d_kv": config.head_width,
        "d_ff": config.hidden,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.distance,
        "layer_norm_epsilon": config.eps,
        "feed_forward_proj": kinds[config.gated, config.activation],
        "decoder_start_token_id": 0,
    }
    return PartFiles(content, kind="T5EncoderModel")


_BLOCK = "encoder.block.{}.layer"
_BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"


def table(config: T5Config) -> Table:
    """transformers' names of the tensors."""
    mlp, path = f"{_BLOCK}.1.DenseReluDense", "blocks_{}/mlp"
    inner = {"wi_0": "gate", "wi_1": "up"} if config.gated else {"wi": "up"}
    return Table(
        rules=(
            Rule("shared", "tokens", EMBEDDING),
            Rule(_BIAS, "positions", EMBEDDING),
            *attention_rules(f"{_BLOCK}.0.SelfAttention", "blocks_{}/attention", "qkvo"),
            Rule(f"{_BLOCK}.0.layer_norm", "blocks_{}/norm_attention", NORM),
            *(Rule(f"{mlp}.{name}", f"{path}/{target}", LINEAR) for name, target in inner.items()),
            Rule(f"{mlp}.wo", f"{path}/down", LINEAR),
            Rule(f"{_BLOCK}.1.layer_norm", "blocks_{}/norm_mlp", NORM),
            Rule("encoder.final_layer_norm", "norm", NORM),
        ),
        # Files hold the embedding once or twice; whole T5 files also hold a decoder and a head.
        renames=((r"^encoder\.embed_tokens\.", "shared."),),
        ignored=(r"decoder\..*", r"lm_head\..*"),
    )


def read_shapes(shapes: Shapes) -> T5Config:
    """The configuration of an authors' file."""
    block = "encoder.block.0.layer"
    buckets, heads = shapes[f"{_BIAS}.weight"]
    vocab, width = shapes["shared.weight"]
    return T5Config(
        vocab=vocab,
        width=width,
        depth=shapes.count("encoder.block.{}."),
        heads=heads,
        head_width=shapes[f"{block}.0.SelfAttention.q.weight"][0] // heads,
        hidden=shapes[f"{block}.1.DenseReluDense.wi_0.weight"][0],
        buckets=buckets,
    )


PART = Part(
    name="t5",
    folder="text_encoder_2",
    classes={"T5EncoderModel": "transformers", "T5ForConditionalGeneration": "transformers"},
    weights=TRANSFORMERS_FILE,
    model=T5Encoder,
    inputs=lambda config: (token_ids(), token_ids()),
    read=read_config,
    write=write_config,
    table=table,
    tokenizer=TokenizerSpec(
        folder="tokenizer_2",
        kinds=("T5",),
        written="T5TokenizerFast",
        source="google/flan-t5-large",
        length=128,
    ),
    # The authors' files keep the hub's names.
    authors=AuthorsPart(mark="shared.weight", table=table, read_shapes=read_shapes),
)
