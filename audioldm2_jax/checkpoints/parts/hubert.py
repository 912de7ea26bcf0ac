"""HuBERT: transformers' HubertModel, and fairseq's .pt files."""

from __future__ import annotations

import dataclasses

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
    Kind,
    Layout,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles, named_classes
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.hubert import HuBERT
from audioldm2_jax.presets import HuBERTConfig

_CLASS = "HubertModel"
_FOLDER = "semantic_encoder"
_EXTRACTOR_FILE = f"{_FOLDER}/preprocessor_config.json"
# The tensor by which fairseq's files are known.
MARK = "post_extract_proj.weight"
_HEAD_WIDTH = 64
_ACTIVATIONS = ("gelu", "relu", "gelu_new")
_CONVS = 16


def read_config(files: PartFiles) -> HuBERTConfig:
    """transformers' HubertConfig, and the Wav2Vec2FeatureExtractor beside it. Raises InputError.

    Without the latter, waveforms are normalised where the convolutions have layer norms, as
    fairseq's published models were trained.
    """
    entries = transformers_entries("HubertConfig", files.content, files.where)
    require(files.content, files.where, conv_pos_batch_norm=False, adapter_attn_dim=None)
    channels = entries.integers("conv_dim", count=_CONVS)
    kernels = entries.integers("conv_kernel", count=_CONVS, high=256)
    strides = entries.integers("conv_stride", count=_CONVS, high=64)
    if not len(channels) == len(kernels) == len(strides):
        entries.refuse("conv_kernel", "as many values as conv_dim and conv_stride")
    width = entries.integer("hidden_size", None)
    groups = entries.integer("num_conv_pos_embedding_groups", 16)
    if width % groups:
        entries.refuse("num_conv_pos_embedding_groups", f"a divisor of hidden_size, {width},")
    norm = entries.choice("feat_extract_norm", "group", ("group", "layer"))
    masked = [entries.number(f"mask_{axis}_prob", 0.0, high=1) for axis in ("time", "feature")]
    front = Entries(files.beside.get(_EXTRACTOR_FILE, {}), f"{files.where}: preprocessor_config")
    return HuBERTConfig(
        sample_rate=front.integer("sampling_rate", 16000, high=768_000),
        channels=channels,
        kernels=kernels,
        strides=strides,
        conv_norm=norm,
        conv_bias=entries.flag("conv_bias", False),
        conv_activation=entries.choice("feat_extract_activation", "gelu", _ACTIVATIONS),
        project_norm=entries.flag("feat_proj_layer_norm", True),
        width=width,
        depth=entries.integer("num_hidden_layers", None, high=DEPTH),
        heads=heads_of(entries, "num_attention_heads", "hidden_size"),
        hidden=entries.integer("intermediate_size", None, high=4 * WIDTH),
        activation=entries.choice("hidden_act", "gelu", _ACTIVATIONS),
        position_kernel=entries.integer("num_conv_pos_embeddings", 128, high=4096),
        position_groups=groups,
        stable=entries.flag("do_stable_layer_norm", False),
        eps=entries.number("layer_norm_eps", 1e-5, high=1),
        normalize=front.flag("do_normalize", norm == "layer"),
        mask=max(masked) > 0,
    )


def write_config(config: HuBERTConfig) -> PartFiles:
    """The inverse of `read_config`."""
    c = config
    content = {
        "architectures": [_CLASS],
        "model_type": "hubert",
        "conv_dim": list(c.channels),
        "conv_kernel": list(c.kernels),
        "conv_stride": list(c.strides),
        "conv_bias": c.conv_bias,
        "feat_extract_norm": c.conv_norm,
        "feat_extract_activation": c.conv_activation,
        "feat_proj_layer_norm": c.project_norm,
        "hidden_size": c.width,
        "num_hidden_layers": c.depth,
        "num_attention_heads": c.heads,
        "intermediate_size": c.hidden,
        "hidden_act": c.activation,
        "num_conv_pos_embeddings": c.position_kernel,
        "num_conv_pos_embedding_groups": c.position_groups,
        "do_stable_layer_norm": c.stable,
        "layer_norm_eps": c.eps,
        "mask_time_prob": 0.05 if c.mask else 0.0,
        "mask_feature_prob": 0.0,
    }
    front = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": c.sample_rate,
        "padding_value": 0.0,
        "do_normalize": c.normalize,
        "return_attention_mask": c.conv_norm == "layer",
    }
    return PartFiles(content, kind=_CLASS, beside={_EXTRACTOR_FILE: front})


_LENGTH: Kind = {"": ("", Layout(lambda x: x.reshape(-1), lambda x: x.reshape(1, 1, -1)))}
_DIRECTION: Kind = {"": ("", CONV1D["weight"][1])}
_LAYER, _BLOCK = "encoder.layers.{}", "blocks_{}"
_CONV = "feature_extractor.conv_layers.{}"
_POSITIONS = "encoder.pos_conv_embed.conv"
# fairseq's names, and those of weight norm before torch 2.1.
_RENAMES = (
    (r"^(hubert|w2v_encoder\.w2v_model)\.", ""),
    (r"^(feature_extractor\.conv_layers\.\d+)\.0\.", r"\1.conv."),
    (r"^(feature_extractor\.conv_layers\.\d+)\.2\.(1\.)?", r"\1.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^encoder\.pos_conv\.0\.", f"{_POSITIONS}."),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)


def table(config: HuBERTConfig) -> Table:
    """transformers' names; fairseq's are renamed to them."""
    first = ()
    if config.conv_norm == "group":
        source = _CONV.format(0)
        target = "feature_encoder/conv_0"
        first = (
            Rule(f"{source}.layer_norm.weight", f"{target}/norm_scale", PLAIN),
            Rule(f"{source}.layer_norm.bias", f"{target}/norm_bias", PLAIN),
        )
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    return Table(
        rules=(
            *first,
            Rule("masked_spec_embed", "mask", PLAIN),
            Rule(f"{_CONV}.conv", "feature_encoder/conv_{}", CONV1D),
            Rule(f"{_CONV}.layer_norm", "feature_encoder/norm_{}", NORM),
            Rule("feature_projection.layer_norm", "norm_project", NORM),
            Rule("feature_projection.projection", "project", LINEAR),
            Rule(f"{_POSITIONS}.parametrizations.weight.original0", "positions/length", _LENGTH),
            Rule(
                f"{_POSITIONS}.parametrizations.weight.original1", "positions/direction", _DIRECTION
            ),
            Rule(f"{_POSITIONS}.bias", "positions/bias", PLAIN),
            Rule("encoder.layer_norm", "norm", NORM),
            *attention_rules(f"{_LAYER}.attention", f"{_BLOCK}/attention", names),
            Rule(f"{_LAYER}.layer_norm", f"{_BLOCK}/norm_attention", NORM),
            Rule(f"{_LAYER}.feed_forward.intermediate_dense", f"{_BLOCK}/mlp/up", LINEAR),
            Rule(f"{_LAYER}.feed_forward.output_dense", f"{_BLOCK}/mlp/down", LINEAR),
            Rule(f"{_LAYER}.final_layer_norm", f"{_BLOCK}/norm_mlp", NORM),
        ),
        renames=_RENAMES,
        # Heads of the pre-training and of recognisers.
        ignored=(r"label_embs_concat", r"(final_proj|lm_head|projector|classifier)\..*"),
    )


def read_shapes(shapes: Shapes) -> HuBERTConfig:
    """The configuration of fairseq's file.

    Strides are 5, then 2, and heads 64 wide (80 in the extra large model), as fairseq's are.
    """
    count = shapes.count("feature_extractor.conv_layers.{}.")
    convs = [shapes[f"feature_extractor.conv_layers.{i}.0.weight"] for i in range(count)]
    if not convs or any(len(shape) != 3 for shape in convs):
        raise InputError(f"{shapes.where}: no HuBERT of fairseq, its convolutions are missing")
    norm = "layer" if "feature_extractor.conv_layers.0.2.1.weight" in shapes else "group"
    width = shapes["post_extract_proj.weight"][0]
    position = shapes["encoder.pos_conv.0.weight_v"]
    heads = 16 if width == 1280 else shapes.heads(width, _HEAD_WIDTH)
    return dataclasses.replace(
        HuBERTConfig(),
        channels=tuple(shape[0] for shape in convs),
        kernels=tuple(shape[2] for shape in convs),
        strides=(5,) + (2,) * (count - 1),
        conv_norm=norm,
        conv_bias="feature_extractor.conv_layers.0.0.bias" in shapes,
        width=width,
        depth=shapes.count("encoder.layers.{}."),
        heads=heads,
        hidden=shapes["encoder.layers.0.fc1.weight"][0],
        position_kernel=position[2],
        position_groups=width // position[1],
        # fairseq trains models with layer norms on normalised waveforms, with stable blocks.
        stable=norm == "layer",
        normalize=norm == "layer",
    )


def describes(content: dict) -> bool:
    """Whether a config.json is of HubertModel or of a recogniser over it."""
    return _CLASS in named_classes(content) or content.get("model_type") == "hubert"


PART = Part(
    name="hubert",
    folder=_FOLDER,
    classes={_CLASS: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=HuBERT,
    inputs=lambda config: (jnp.zeros((1, config.window + config.hop)),),
    read=read_config,
    write=write_config,
    table=table,
    beside=(_EXTRACTOR_FILE,),
    describes=describes,
)
