"""The phoneme encoder for speech: the text encoder of transformers' VitsModel."""

from __future__ import annotations

from collections.abc import Mapping

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    ROWS,
    WIDTH,
    heads_of,
    require,
    transformers_entries,
)
from audioldm2_jax.checkpoints.convert import (
    CONV1D,
    EMBEDDING,
    NORM,
    POINTWISE1D,
    UNSQUEEZED,
    VITS_NORM,
    Rule,
    Table,
)
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
from audioldm2_jax.checkpoints.tokenizer_files import phoneme_tokenizer
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.phoneme_encoder import PhonemeEncoder
from audioldm2_jax.presets import PhonemeConfig


def read_config(files: PartFiles) -> PhonemeConfig:
    """transformers' VitsConfig. Raises InputError."""
    entries = transformers_entries("VitsConfig", files.content, files.where)
    require(entries.content, files.where, hidden_act="relu", use_bias=True)
    return PhonemeConfig(
        vocab=entries.integer("vocab_size", None, high=ROWS),
        width=entries.integer("hidden_size", None),
        depth=entries.integer("num_hidden_layers", None, high=DEPTH),
        heads=heads_of(entries, "num_attention_heads", "hidden_size"),
        hidden=entries.integer("ffn_dim", None, high=4 * WIDTH),
        kernel=entries.integer("ffn_kernel_size", None, high=64),
        window=entries.integer("window_size", None, high=1024),
        eps=entries.number("layer_norm_eps", 1e-5, high=1),
    )


def write_config(config: PhonemeConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "ffn_dim": config.hidden,
        "ffn_kernel_size": config.kernel,
        "window_size": config.window,
        "layer_norm_eps": config.eps,
        "hidden_act": "relu",
        "pad_token_id": 0,
    }
    return PartFiles(content, kind="VitsModel")


_LAYER = "text_encoder.encoder.layers.{}"

TABLE = Table(
    rules=(
        Rule("text_encoder.embed_tokens", "tokens", EMBEDDING),
        *attention_rules(
            f"{_LAYER}.attention", "blocks_{}/attention", ("q_proj", "k_proj", "v_proj", "out_proj")
        ),
        Rule(f"{_LAYER}.attention.emb_rel_k", "blocks_{}/attention/distance_keys", UNSQUEEZED),
        Rule(f"{_LAYER}.attention.emb_rel_v", "blocks_{}/attention/distance_values", UNSQUEEZED),
        Rule(f"{_LAYER}.layer_norm", "blocks_{}/norm_attention", NORM),
        Rule(f"{_LAYER}.feed_forward.conv_1", "blocks_{}/mlp_up", CONV1D),
        Rule(f"{_LAYER}.feed_forward.conv_2", "blocks_{}/mlp_down", CONV1D),
        Rule(f"{_LAYER}.final_layer_norm", "blocks_{}/norm_mlp", NORM),
    ),
    # AudioLDM 2 reads the hidden states; the rest of VITS is a speech synthesiser of its own.
    ignored=(
        r"text_encoder\.project\..*",
        r"(flow|decoder|duration_predictor|posterior_encoder|embed_speaker)\..*",
    ),
)

_ENCODER = "text_encoder.encoder"
_ATTENTION = f"{_ENCODER}.attn_layers.{{}}"

AUTHORS_TABLE = Table(
    rules=(
        Rule("text_encoder.emb", "tokens", EMBEDDING),
        *attention_rules(
            _ATTENTION, "blocks_{}/attention", ("conv_q", "conv_k", "conv_v", "conv_o"), POINTWISE1D
        ),
        Rule(f"{_ATTENTION}.emb_rel_k", "blocks_{}/attention/distance_keys", UNSQUEEZED),
        Rule(f"{_ATTENTION}.emb_rel_v", "blocks_{}/attention/distance_values", UNSQUEEZED),
        Rule(f"{_ENCODER}.norm_layers_1.{{}}", "blocks_{}/norm_attention", VITS_NORM),
        Rule(f"{_ENCODER}.ffn_layers.{{}}.conv_1", "blocks_{}/mlp_up", CONV1D),
        Rule(f"{_ENCODER}.ffn_layers.{{}}.conv_2", "blocks_{}/mlp_down", CONV1D),
        Rule(f"{_ENCODER}.norm_layers_2.{{}}", "blocks_{}/norm_mlp", VITS_NORM),
    ),
    # The position table is a parameter of our projection; nothing reads the prior's statistics.
    ignored=(r"text_encoder\.proj\..*", r"learnable_positional_embedding"),
)


def read_shapes(shapes: Shapes) -> PhonemeConfig:
    """The configuration of an authors' file."""
    vocab, width = shapes["text_encoder.emb.weight"]
    _, distances, size = shapes[f"{_ENCODER}.attn_layers.0.emb_rel_k"]
    hidden, _, kernel = shapes[f"{_ENCODER}.ffn_layers.0.conv_1.weight"]
    return PhonemeConfig(
        vocab=vocab,
        width=width,
        depth=shapes.count(f"{_ENCODER}.attn_layers.{{}}."),
        heads=shapes.heads(width, size),
        hidden=hidden,
        kernel=kernel,
        window=(distances - 1) // 2,
    )


def _gather(parts: Mapping[str, Weights], path) -> Weights:
    if "projection" not in parts:
        raise InputError(f"{path}: a phoneme encoder without its sequence model")
    return parts["phonemes"]


PART = Part(
    name="phonemes",
    folder="text_encoder_2",
    classes={"VitsModel": "transformers"},
    weights=TRANSFORMERS_FILE,
    model=PhonemeEncoder,
    inputs=lambda config: (token_ids(), token_ids()),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    tokenizer=TokenizerSpec(
        folder="tokenizer_2",
        kinds=("Vits",),
        written="VitsTokenizer",
        make=lambda config: phoneme_tokenizer(config.projection.positions),
    ),
    authors=AuthorsPart(
        mark="text_encoder.emb.weight",
        table=lambda config: AUTHORS_TABLE,
        read_shapes=read_shapes,
        gather=_gather,
    ),
)
