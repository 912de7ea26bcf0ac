"""Mimi: transformers' MimiModel, in the layout of the hub and in that of its modules."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    ROWS,
    WIDTH,
    Entries,
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
    Layout,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles, named_classes
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.checkpoints.parts.seanet import seanet_rules
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.mimi import Mimi
from audioldm2_jax.models.layers import ACTIVATIONS
from audioldm2_jax.presets.codecs import MimiConfig

_CLASS = "MimiModel"
_MAX_HOP, _MAX_RATE = 1 << 14, 768_000


def read_config(files: PartFiles) -> MimiConfig:
    """transformers' MimiConfig. Raises InputError."""
    entries = transformers_entries("MimiConfig", files.content, files.where)
    width = entries.integer("hidden_size", None)
    require(
        files.content,
        files.where,
        use_causal_conv=True,
        pad_mode="constant",
        trim_right_ratio=1.0,
        attention_bias=False,
        normalize=False,
    )
    heads = entries.integer("num_attention_heads", None, high=1024)
    if entries.integer("num_key_value_heads", None) != heads:
        entries.refuse("num_key_value_heads", f"num_attention_heads, {heads},")
    if entries.integer("upsample_groups", None) != width:
        entries.refuse("upsample_groups", f"hidden_size, {width},")
    inner = entries.integer("vector_quantization_hidden_dimension", None)
    if entries.integer("codebook_dim", None) != inner:
        entries.refuse("codebook_dim", f"vector_quantization_hidden_dimension, {inner},")
    head_width = width // heads if files.content.get("head_dim") is None else None
    config = MimiConfig(
        channels=entries.integer("audio_channels", None, high=2),
        filters=entries.integer("num_filters", None),
        width=width,
        strides=entries.integers("upsampling_ratios", high=64)[::-1],
        units=entries.integer("num_residual_layers", None, high=8),
        dilation_growth=entries.integer("dilation_growth_rate", None, high=64),
        kernel=entries.integer("kernel_size", None, high=64),
        last_kernel=entries.integer("last_kernel_size", None, high=64),
        residual_kernel=entries.integer("residual_kernel_size", None, high=64),
        compress=entries.integer("compress", None, high=64),
        shortcut=entries.flag("use_conv_shortcut", False),
        sample_rate=entries.integer("sampling_rate", None, high=_MAX_RATE),
        levels=entries.integer("num_quantizers", None, 2, DEPTH),
        semantic=entries.integer("num_semantic_quantizers", None, high=DEPTH - 1),
        codebook=entries.integer("codebook_size", None, 2, ROWS),
        codebook_width=inner,
        depth=entries.integer("num_hidden_layers", None, high=DEPTH),
        heads=heads,
        head_width=head_width or entries.integer("head_dim", None, 2),
        hidden=entries.integer("intermediate_size", None, high=4 * WIDTH),
        activation=entries.choice("hidden_act", "gelu", tuple(ACTIVATIONS)),
        eps=entries.number("norm_eps", 1e-5, high=1),
        theta=_theta(entries, files),
        window=entries.integer("sliding_window", None, high=1 << 16),
        downsample=_downsample(entries, files),
    )
    _check(config, entries)
    return config


def _theta(entries: Entries, files: PartFiles) -> float:
    """The base of the rotation; older files have it without a group of its own."""
    group = Entries(entries.get("rope_parameters", {}), f"{files.where}: rope_parameters")
    require(group.content, group.where, rope_type="default")
    if files.content.get("rope_theta") is not None:
        group = entries
    return float(group.number("rope_theta", 10000.0, 1.0))


def _downsample(entries: Entries, files: PartFiles) -> int:
    """How many frames of SEANet make one of the codes: of `frame_rate`, 2 in files without."""
    if files.content.get("frame_rate") is None:
        return 2
    hop = 1
    for stride in entries.integers("upsampling_ratios", high=64):
        hop *= stride
    rate = entries.integer("sampling_rate", None, high=_MAX_RATE)
    factor = rate / hop / entries.number("frame_rate", 0, 0.01, _MAX_RATE)
    if not 1 <= factor <= 64 or abs(factor - round(factor)) > 1e-6:
        entries.refuse("frame_rate", f"{rate / hop:g} Hz, or a whole fraction of it,")
    return round(factor)


def _check(config: MimiConfig, entries: Entries) -> None:
    """Raises InputError for sizes that do not fit together."""
    c = config
    if c.hop > _MAX_HOP or c.filters * 2 ** len(c.strides) > WIDTH:
        entries.refuse("upsampling_ratios", f"a hop up to {_MAX_HOP} and widths up to {WIDTH}")
    if c.filters % c.compress:
        entries.refuse("compress", f"a divisor of num_filters, {c.filters},")
    if c.semantic >= c.levels:
        entries.refuse("num_semantic_quantizers", f"fewer than num_quantizers, {c.levels},")
    if c.head_width % 2:
        entries.refuse("head_dim", "an even width of heads")


def write_config(config: MimiConfig) -> PartFiles:
    """The inverse of `read_config`."""
    c = config
    content = {
        "architectures": [_CLASS],
        "model_type": "mimi",
        "sampling_rate": c.sample_rate,
        "frame_rate": c.sample_rate / c.hop,
        "audio_channels": c.channels,
        "hidden_size": c.width,
        "num_filters": c.filters,
        "num_residual_layers": c.units,
        "upsampling_ratios": list(c.strides[::-1]),
        "kernel_size": c.kernel,
        "last_kernel_size": c.last_kernel,
        "residual_kernel_size": c.residual_kernel,
        "dilation_growth_rate": c.dilation_growth,
        "compress": c.compress,
        "use_conv_shortcut": c.shortcut,
        "use_causal_conv": True,
        "pad_mode": "constant",
        "trim_right_ratio": 1.0,
        "codebook_size": c.codebook,
        "codebook_dim": c.codebook_width,
        "vector_quantization_hidden_dimension": c.codebook_width,
        "num_quantizers": c.levels,
        "num_semantic_quantizers": c.semantic,
        "upsample_groups": c.width,
        "num_hidden_layers": c.depth,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.heads,
        "head_dim": c.head_width,
        "intermediate_size": c.hidden,
        "hidden_act": c.activation,
        "norm_eps": c.eps,
        "rope_theta": c.theta,
        "sliding_window": c.window,
    }
    return PartFiles(content, kind=_CLASS)


_DEPTHWISE: Kind = {"weight": ("kernel", Layout(lambda x: x[:, 0].T, lambda x: x.T[:, None]))}
_SCALE: Kind = {"scale": ("scale", PLAIN[""][1])}


def _transformer(side: str) -> tuple[Rule, ...]:
    source, target = f"{side}_transformer.layers.{{}}", f"{side}_transformer/blocks_{{}}"
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    attention = attention_rules(f"{source}.self_attn", target, names)
    return (
        *attention,
        Rule(f"{source}.input_layernorm", f"{target}/norm_attention", NORM),
        Rule(f"{source}.post_attention_layernorm", f"{target}/norm_mlp", NORM),
        Rule(f"{source}.mlp.fc1", f"{target}/mlp/up", LINEAR),
        Rule(f"{source}.mlp.fc2", f"{target}/mlp/down", LINEAR),
        Rule(f"{source}.self_attn_layer_scale", f"{target}/scale_attention", _SCALE),
        Rule(f"{source}.mlp_layer_scale", f"{target}/scale_mlp", _SCALE),
    )


def _quantizer(name: str) -> tuple[Rule, ...]:
    source, target = f"quantizer.{name}_residual_vector_quantizer", f"quantizer/{name}_levels"
    return (
        Rule(f"{source}.input_proj", f"{target}/project_in", POINTWISE1D),
        Rule(f"{source}.output_proj", f"{target}/project_out", POINTWISE1D),
        Rule(
            f"{source}.layers.{{}}.codebook.embed",
            f"{target}/levels_{{}}/codebook/embedding",
            PLAIN,
        ),
    )


_SUM, _USAGE = "codebook.embed_sum", "codebook.cluster_usage"


class _Mean:
    """A reader of a codebook: sums of vectors by how many there were."""

    def __init__(self, content: Weights, stem: str):
        self.content, self.stem = content, stem
        self.shape = content.shape(f"{stem}{_SUM}")

    def read(self) -> np.ndarray:
        usage = self.content[f"{self.stem}{_USAGE}"].astype(np.float32)
        # The reference's bound.
        usage = np.maximum(usage, np.float32(1e-5))
        return self.content[f"{self.stem}{_SUM}"].astype(np.float32) / usage[:, None]


def _fold(content: Weights, where: str) -> Weights:
    """With a codebook's vectors in place of their sums and counts. Raises InputError."""
    readers = {}
    for name in content:
        if not name.endswith(_SUM):
            continue
        stem = name.removesuffix(_SUM)
        if f"{stem}{_USAGE}" not in content:
            raise InputError(f"{where}: tensor {stem}{_USAGE} is missing")
        shape, usage = content.shape(name), content.shape(f"{stem}{_USAGE}")
        if len(shape) != 2 or usage != shape[:1]:
            raise InputError(f"{where}: tensor {stem}{_USAGE} has shape {usage}, {name} {shape}")
        readers[f"{stem}codebook.embed"] = _Mean(content, stem)
    names = {n: n for n in content if not n.endswith((_SUM, _USAGE, "codebook.initialized"))}
    return content.renamed(names) | Weights(readers)


def _unfold(state: dict) -> dict:
    """As if each code had been used once."""
    unfolded = {}
    for name, value in state.items():
        if not name.endswith("codebook.embed"):
            unfolded[name] = value
            continue
        stem = name.removesuffix("codebook.embed")
        unfolded[f"{stem}{_SUM}"] = value
        unfolded[f"{stem}{_USAGE}"] = np.ones(len(value), np.float32)
        unfolded[f"{stem}codebook.initialized"] = np.ones(1, np.float32)
    return unfolded


# transformers 5's modules, to the names on the hub.
_RENAMES = (
    (r"^(encoder|decoder)\.\1(_seanet)?\.layers\.", r"\1.layers."),
    (r"^(encoder|decoder)\.\1_transformer\.", r"\1_transformer."),
    (r"^encoder\.downsample\.", "downsample."),
    (r"^decoder\.upsample\.", "upsample."),
)


def table(config: MimiConfig) -> Table:
    """The names on the hub; `renames` also gives them to those of transformers 5's modules."""
    return Table(
        rules=(
            *seanet_rules(config, "encoder"),
            *seanet_rules(config, "decoder"),
            *_transformer("encoder"),
            *_transformer("decoder"),
            Rule("downsample.conv", "downsample", CONV1D),
            Rule("upsample.conv", "upsample", _DEPTHWISE),
            *_quantizer("semantic"),
            *_quantizer("acoustic"),
        ),
        renames=_RENAMES,
        fold=_fold,
        unfold=_unfold,
    )


PART = Part(
    name="mimi",
    folder="codec",
    classes={_CLASS: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=Mimi,
    inputs=lambda config: (jnp.zeros((1, 2 * config.hop, config.channels)),),
    read=read_config,
    write=write_config,
    table=table,
    describes=lambda content: _CLASS in named_classes(content),
)
