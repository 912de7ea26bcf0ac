"""EnCodec: transformers' EncodecModel, and the authors' encodec_*.th."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    ROWS,
    WIDTH,
    Entries,
    transformers_entries,
)
from audioldm2_jax.checkpoints.convert import PLAIN, Rule, Table
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    named_classes,
)
from audioldm2_jax.checkpoints.parts.seanet import seanet_rules
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import Weights, fold_weight_norm, unfold_weight_norm
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.encodec import Encodec
from audioldm2_jax.presets import ENCODEC, EncodecConfig

_CLASS = "EncodecModel"
_NORMS = ("weight_norm", "time_group_norm")
# {transformers' padding mode: ours}
_PADDINGS = {"constant": "zero", "reflect": "reflect", "replicate": "edge"}
_MAX_HOP, _MAX_RATE, _MAX_REACH = 1 << 14, 768_000, 1 << 12


def read_config(files: PartFiles) -> EncodecConfig:
    """transformers' EncodecConfig. Raises InputError."""
    entries = transformers_entries("EncodecConfig", files.content, files.where)
    width = entries.integer("hidden_size", None)
    if files.content.get("codebook_dim") not in (None, width):
        entries.refuse("codebook_dim", f"hidden_size, {width},")
    bandwidths = _bandwidths(entries)
    chunk, overlap = entries.get("chunk_length_s"), entries.get("overlap")
    config = EncodecConfig(
        **_network(entries),
        width=width,
        sample_rate=entries.integer("sampling_rate", None, high=_MAX_RATE),
        codebook=entries.integer("codebook_size", None, 2, ROWS),
        bandwidths=bandwidths,
        normalize=entries.flag("normalize", False),
        chunk_seconds=None if chunk is None else entries.number("chunk_length_s", 0, 1e-3, 600),
        overlap=None if overlap is None else entries.number("overlap", 0, 0, 0.5),
    )
    _check(config, entries)
    return config


def _bandwidths(entries: Entries) -> tuple[float, ...]:
    """The bandwidths in kbit/s, ascending."""
    values = entries.get("target_bandwidths")
    listed = values if isinstance(values, (list, tuple)) else []
    numbers = [float(x) for x in listed if type(x) in (int, float) and 0 < x <= 1e6]
    if not 1 <= len(listed) <= DEPTH or len(numbers) < len(listed) or numbers != sorted(numbers):
        entries.refuse("target_bandwidths", "a list of ascending kbit/s")
    return tuple(numbers)


def _network(entries: Entries) -> dict:
    """The fields of `SEANetConfig` but `width`."""
    return {
        "channels": entries.integer("audio_channels", None, high=2),
        "filters": entries.integer("num_filters", None),
        "strides": entries.integers("upsampling_ratios", high=64)[::-1],
        "units": entries.integer("num_residual_layers", None, high=8),
        "dilation_growth": entries.integer("dilation_growth_rate", None, high=64),
        "kernel": entries.integer("kernel_size", None, high=64),
        "last_kernel": entries.integer("last_kernel_size", None, high=64),
        "residual_kernel": entries.integer("residual_kernel_size", None, high=64),
        "compress": entries.integer("compress", None, high=64),
        "shortcut": entries.flag("use_conv_shortcut", True),
        "causal": entries.flag("use_causal_conv", True),
        "padding": _PADDINGS[entries.choice("pad_mode", "reflect", tuple(_PADDINGS))],
        "trim_right": entries.number("trim_right_ratio", 1.0, high=1),
        "group_norm": entries.choice("norm_type", "weight_norm", _NORMS) == "time_group_norm",
        "lstm_layers": entries.integer("num_lstm_layers", None, high=16),
    }


def _check(config: EncodecConfig, entries: Entries) -> None:
    """Raises InputError for sizes that do not fit together."""
    c = config
    if c.hop > _MAX_HOP or c.filters * 2 ** len(c.strides) > WIDTH:
        entries.refuse("upsampling_ratios", f"a hop up to {_MAX_HOP} and widths up to {WIDTH}")
    if c.dilation_growth ** (c.units - 1) * c.residual_kernel > _MAX_REACH:
        entries.refuse("dilation_growth_rate", f"a kernel's reach up to {_MAX_REACH} frames")
    if c.filters % c.compress:
        entries.refuse("compress", f"a divisor of num_filters, {c.filters},")
    if c.codebook & (c.codebook - 1):
        entries.refuse("codebook_size", "a power of two")
    if not c.causal and c.trim_right != 1.0:
        entries.refuse("trim_right_ratio", "1 without causal convolutions")
    if not 1 <= c.levels <= DEPTH:
        requirement = f"a last bandwidth of 1 to {DEPTH} codebooks (this is {c.levels})"
        entries.refuse("target_bandwidths", requirement)
    if c.chunk is not None and (c.chunk < c.hop or c.chunk_stride is None):
        entries.refuse("chunk_length_s", f"a frame ({c.hop} samples) and an overlap")


def write_config(config: EncodecConfig) -> PartFiles:
    """The inverse of `read_config`."""
    modes = {ours: theirs for theirs, ours in _PADDINGS.items()}
    content = {
        "architectures": [_CLASS],
        "model_type": "encodec",
        "sampling_rate": config.sample_rate,
        "audio_channels": config.channels,
        "normalize": config.normalize,
        "chunk_length_s": config.chunk_seconds,
        "overlap": config.overlap,
        "hidden_size": config.width,
        "codebook_dim": config.width,
        "codebook_size": config.codebook,
        "target_bandwidths": list(config.bandwidths),
        "num_filters": config.filters,
        "num_residual_layers": config.units,
        "upsampling_ratios": list(config.strides[::-1]),
        "norm_type": _NORMS[config.group_norm],
        "kernel_size": config.kernel,
        "last_kernel_size": config.last_kernel,
        "residual_kernel_size": config.residual_kernel,
        "dilation_growth_rate": config.dilation_growth,
        "use_causal_conv": config.causal,
        "pad_mode": modes[config.padding],
        "compress": config.compress,
        "num_lstm_layers": config.lstm_layers,
        "trim_right_ratio": config.trim_right,
        "use_conv_shortcut": config.shortcut,
    }
    return PartFiles(content, kind=_CLASS)


_CODEBOOK = "quantizer.layers.{}.codebook"


def _statistics(state: dict) -> dict:
    """With the codebooks' statistics of training, as if each code had been used once."""
    for name in [name for name in state if name.endswith(".codebook.embed")]:
        stem, codes = name.removesuffix(".embed"), state[name]
        state[f"{stem}.embed_avg"] = codes
        state[f"{stem}.cluster_size"] = np.ones(len(codes), np.float32)
        state[f"{stem}.inited"] = np.ones(1, np.float32)
    return state


def _unfold(state: dict) -> dict:
    return unfold_weight_norm(_statistics(state), r".*\.conv\.weight")


def table(config: EncodecConfig) -> Table:
    """transformers' names; `renames` also gives them to the authors'."""
    return Table(
        rules=(
            *seanet_rules(config, "encoder"),
            *seanet_rules(config, "decoder"),
            Rule(f"{_CODEBOOK}.embed", "quantizer/levels_{}/codebook/embedding", PLAIN),
        ),
        renames=(
            (r"^(encoder|decoder)\.model\.", r"\1.layers."),
            (r"\.(conv\.conv|convtr\.convtr)\.", ".conv."),
            (r"\.(conv|convtr)\.norm\.", ".norm."),
            (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
        ),
        ignored=(r"quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)",),
        fold=fold_weight_norm,
        unfold=_statistics if config.group_norm else _unfold,
    )


def read_shapes(shapes: Shapes) -> EncodecConfig:
    """The configuration of an authors' file, its weight norm folded in. Raises InputError.

    Their models have one residual unit in each stage; those for stereo work as that of 48 kHz,
    others as that of 24 kHz.
    """
    first, last = "encoder.model.0.conv.conv.weight", shapes.count("encoder.model.{}.") - 1
    stages = range(3, last - 2, 3)
    filters, channels, kernel = shapes.of_rank(first, 3)
    codebook, width = shapes.of_rank("quantizer.vq.layers.0._codebook.embed", 2)
    base = ENCODEC["encodec_48khz" if channels == 2 else "encodec_24khz"]
    inner, _, residual_kernel = shapes.of_rank("encoder.model.1.block.1.conv.conv.weight", 3)
    config = dataclasses.replace(
        base,
        channels=channels,
        filters=filters,
        kernel=kernel,
        width=width,
        codebook=codebook,
        strides=tuple(
            shapes.of_rank(f"encoder.model.{i}.conv.conv.weight", 3)[2] // 2 for i in stages
        ),
        last_kernel=shapes.of_rank(f"encoder.model.{last}.conv.conv.weight", 3)[2],
        residual_kernel=residual_kernel,
        compress=max(1, filters // inner),
        shortcut="encoder.model.1.shortcut.conv.conv.weight" in shapes,
        group_norm="encoder.model.0.conv.norm.weight" in shapes,
        lstm_layers=shapes.count(f"encoder.model.{last - 2}.lstm.weight_ih_l{{}}"),
    )
    _check(config, Entries({}, shapes.where))
    levels = shapes.count("quantizer.vq.layers.{}.")
    if levels != config.levels:
        raise InputError(
            f"{shapes.where}: {levels} codebooks; the published model of {config.sample_rate} Hz "
            f"has {config.levels}"
        )
    return config


def _gather(parts: Mapping[str, Weights], path) -> Weights:
    return fold_weight_norm(parts["encodec"], str(path))


PART = Part(
    name="encodec",
    folder="codec",
    classes={_CLASS: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=Encodec,
    inputs=lambda config: (jnp.zeros((1, config.chunk or 2 * config.hop, config.channels)),),
    read=read_config,
    write=write_config,
    table=table,
    describes=lambda content: _CLASS in named_classes(content),
    authors=AuthorsPart(
        mark="quantizer.vq.layers.0._codebook.embed",
        table=table,
        read_shapes=read_shapes,
        gather=_gather,
    ),
)
