"""w2v-BERT 2.0: transformers' Wav2Vec2BertModel."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    WIDTH,
    Entries,
    heads_of,
    require,
    transformers_entries,
)
from audioldm2_jax.checkpoints.convert import (
    CONV1D,
    LINEAR,
    NORM,
    PLAIN,
    POINTWISE1D,
    Kind,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles, named_classes
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.models.w2v_bert import W2VBERT
from audioldm2_jax.presets import W2VBERTConfig

_CLASS = "Wav2Vec2BertModel"
_FOLDER = "semantic_encoder"
_EXTRACTOR_FILE = f"{_FOLDER}/preprocessor_config.json"
# {name in transformers: ours}
_ACTIVATIONS = {"swish": "silu", "silu": "silu", "gelu": "gelu", "relu": "relu"}


def read_config(files: PartFiles) -> W2VBERTConfig:
    """transformers' Wav2Vec2BertConfig and SeamlessM4TFeatureExtractor. Raises InputError."""
    entries = transformers_entries("Wav2Vec2BertConfig", files.content, files.where)
    require(
        entries.content,
        files.where,
        position_embeddings_type="relative_key",
        add_adapter=False,
        use_intermediate_ffn_before_adapter=False,
    )
    front = Entries(files.beside.get(_EXTRACTOR_FILE, {}), f"{files.where}: preprocessor_config")
    require(front.content, front.where, sampling_rate=16000)
    mels = front.integer("num_mel_bins", W2VBERTConfig.mels, high=256)
    stack = front.integer("stride", W2VBERTConfig.stack, high=64)
    if entries.integer("feature_projection_input_dim", None) != mels * stack:
        entries.refuse("feature_projection_input_dim", f"{stack} frames of {mels} bins")
    kernel = entries.integer("conv_depthwise_kernel_size", None, high=1025)
    if not kernel % 2:
        entries.refuse("conv_depthwise_kernel_size", "an odd number")
    masked = [entries.number(f"mask_{axis}_prob", 0.0, high=1) for axis in ("time", "feature")]
    return W2VBERTConfig(
        mels=mels,
        stack=stack,
        width=entries.integer("hidden_size", None),
        depth=entries.integer("num_hidden_layers", None, high=DEPTH),
        heads=heads_of(entries, "num_attention_heads", "hidden_size"),
        hidden=entries.integer("intermediate_size", None, high=4 * WIDTH),
        activation=_ACTIVATIONS[entries.choice("hidden_act", "swish", tuple(_ACTIVATIONS))],
        kernel=kernel,
        left=entries.integer("left_max_position_embeddings", None, 0),
        right=entries.integer("right_max_position_embeddings", None, 0),
        eps=entries.number("layer_norm_eps", 1e-5, high=1),
        mask=max(masked) > 0,
    )


def write_config(config: W2VBERTConfig) -> PartFiles:
    """The inverse of `read_config`."""
    c = config
    content = {
        "architectures": [_CLASS],
        "model_type": "wav2vec2-bert",
        "feature_projection_input_dim": c.mels * c.stack,
        "hidden_size": c.width,
        "num_hidden_layers": c.depth,
        "num_attention_heads": c.heads,
        "intermediate_size": c.hidden,
        "hidden_act": "swish" if c.activation == "silu" else c.activation,
        "position_embeddings_type": "relative_key",
        "left_max_position_embeddings": c.left,
        "right_max_position_embeddings": c.right,
        "conv_depthwise_kernel_size": c.kernel,
        "layer_norm_eps": c.eps,
        "add_adapter": False,
        "mask_time_prob": 0.05 if c.mask else 0.0,
        "mask_feature_prob": 0.0,
    }
    front = {
        "feature_extractor_type": "SeamlessM4TFeatureExtractor",
        "feature_size": c.mels,
        "num_mel_bins": c.mels,
        "stride": c.stack,
        "sampling_rate": 16000,
        "padding_value": 0.0,
    }
    return PartFiles(content, kind=_CLASS, beside={_EXTRACTOR_FILE: front})


_DEPTHWISE: Kind = {"": ("", CONV1D["weight"][1])}


def _table() -> Table:
    layer, block = "encoder.layers.{}", "blocks_{}"
    conv, ours = f"{layer}.conv_module", f"{block}/conv"
    names = ("linear_q", "linear_k", "linear_v", "linear_out")
    mlps = [
        rule
        for number, name in ((1, "mlp_in"), (2, "mlp_out"))
        for rule in (
            Rule(f"{layer}.ffn{number}_layer_norm", f"{block}/norm_{name}", NORM),
            Rule(f"{layer}.ffn{number}.intermediate_dense", f"{block}/{name}/up", LINEAR),
            Rule(f"{layer}.ffn{number}.output_dense", f"{block}/{name}/down", LINEAR),
        )
    ]
    return Table(
        rules=(
            Rule("masked_spec_embed", "mask", PLAIN),
            Rule("feature_projection.layer_norm", "norm_project", NORM),
            Rule("feature_projection.projection", "project", LINEAR),
            *mlps,
            Rule(f"{layer}.self_attn_layer_norm", f"{block}/norm_attention", NORM),
            *attention_rules(f"{layer}.self_attn", f"{block}/attention", names),
            Rule(
                f"{layer}.self_attn.distance_embedding.weight",
                f"{block}/attention/distance_keys",
                PLAIN,
            ),
            Rule(f"{conv}.layer_norm", f"{ours}/norm", NORM),
            # GLU: the first half is the value, the second half the gate.
            Rule(f"{conv}.pointwise_conv1", (f"{ours}/up", f"{ours}/gate"), POINTWISE1D),
            Rule(f"{conv}.depthwise_conv.weight", f"{ours}/kernel", _DEPTHWISE),
            Rule(f"{conv}.depthwise_layer_norm", f"{ours}/norm_conv", NORM),
            Rule(f"{conv}.pointwise_conv2", f"{ours}/down", POINTWISE1D),
            Rule(f"{layer}.final_layer_norm", f"{block}/norm", NORM),
        ),
        renames=((r"^wav2vec2_bert\.", ""),),
        # Heads of recognisers and classifiers.
        ignored=(r"(lm_head|projector|classifier)\..*",),
    )


TABLE = _table()


def describes(content: dict) -> bool:
    """Whether a config.json is of Wav2Vec2BertModel or of a recogniser over it."""
    return _CLASS in named_classes(content) or content.get("model_type") == "wav2vec2-bert"


PART = Part(
    name="w2v_bert",
    folder=_FOLDER,
    classes={_CLASS: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=W2VBERT,
    inputs=lambda config: (jnp.zeros((1, config.window + config.hop)),),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    beside=(_EXTRACTOR_FILE,),
    describes=describes,
)
