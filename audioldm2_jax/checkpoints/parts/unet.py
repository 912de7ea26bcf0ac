"""The latent diffusion U-Net: diffusers' AudioLDM2UNet2DConditionModel or UNet2DConditionModel."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import (
    DIFFUSERS_VERSION,
    Entries,
    groups_of,
    levels,
    require,
)
from audioldm2_jax.checkpoints.parts.base import DIFFUSERS_FILE, AuthorsPart, Part, PartFiles
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.parts.unet_tables import authors_table, table
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.presets import Convention, UNetConfig

# UNet2DConditionModel has one self-attending transformer behind each residual block.
_CLASS, _PLAIN = "AudioLDM2UNet2DConditionModel", "UNet2DConditionModel"
_DOWN = {False: "DownBlock2D", True: "CrossAttnDownBlock2D"}
_UP = {False: "UpBlock2D", True: "CrossAttnUpBlock2D"}
_HEADS = "attention_head_dim"


def read_config(files: PartFiles) -> UNetConfig:
    """diffusers' configuration of either class. Raises InputError.

    The heads are what the file says; `interpret` decides what one number for all levels means.
    """
    entries, where = Entries(files.content, files.where), files.where
    _refuse_unsupported(files.content, where)
    channels = entries.integers("block_out_channels")
    count, attention = len(channels), _attention(entries, channels)

    def every(name, default, high):
        """A whole number for each level."""
        values = levels(entries.get(name, default), count, where, name)
        return tuple(entries.integer_of(value, name, 1, high) for value in values)

    layers = set(every("layers_per_block", 2, 16))
    if len(layers) > 1:
        raise InputError(f"{where}: layers_per_block differs between levels")
    contexts = _contexts(entries, count)
    if files.kind == _PLAIN:
        contexts = _self_attending(contexts, channels, attention, where)
    return UNetConfig(
        in_channels=entries.integer("in_channels", 4, high=1024),
        out_channels=entries.integer("out_channels", 4, high=1024),
        channels=channels,
        layers=layers.pop(),
        attention=attention,
        contexts=contexts,
        depths=every("transformer_layers_per_block", 1, 16),
        heads=every(_HEADS, 8, 1024),
        groups=groups_of(entries, channels),
        eps=entries.number("norm_eps", 1e-5, high=1),
        sample_size=_sample_size(entries),
        film=_film(entries),
    )


def interpret(config: UNetConfig, files: PartFiles, convention: Convention) -> UNetConfig:
    """The heads as trained, if the file gives one number for all levels.

    Published files do so whatever was trained. Heads given per level are kept, and so is the number
    for widths that the authors' heads do not fill. Raises InputError for heads that do not divide
    their level's width.
    """
    if convention.heads_from_width and not isinstance(files.content.get(_HEADS), (list, tuple)):
        size = _head_width(config.channels[0], config.film)
        pairs = zip(config.channels, config.heads)
        heads = tuple(c // size if c % size == 0 else h for c, h in pairs)
        config = dataclasses.replace(config, heads=heads)
    for width, count, attends in zip(config.channels, config.heads, config.attention):
        if attends and width % count:
            raise InputError(f"{files.where}: {_HEADS} {count} does not divide width {width}")
    return config


def _head_width(channels: int, film: int) -> int:
    """Channels of a trained head. channels: of the first level; film: as in UNetConfig."""
    # AudioLDM's L, alone of all, was trained with heads of 64 channels.
    return 64 if channels == 256 and film else 32


def _attention(entries: Entries, channels: tuple[int, ...]) -> tuple[bool, ...]:
    """Which levels have transformers."""
    down = entries.get("down_block_types", [])
    listed = isinstance(down, (list, tuple))
    attention = tuple(name == _DOWN[True] for name in down) if listed else ()
    if len(attention) != len(channels) or list(down) != [_DOWN[a] for a in attention]:
        raise InputError(
            f"{entries.where}: down_block_types {down!r:.200} do not fit the levels {channels}"
        )
    up = [_UP[a] for a in reversed(attention)]
    require(entries.content, entries.where, up_block_types=up)
    return attention


def _contexts(entries: Entries, count: int) -> tuple[tuple[int | None, ...], ...]:
    """The context widths of each level: one number, or a list with null for self-attention."""
    name = "cross_attention_dim"
    widths = levels(entries.get(name, 1280), count, entries.where, name)
    widths = [level if isinstance(level, (list, tuple)) else (level,) for level in widths]
    if not all(1 <= len(level) <= 8 for level in widths):
        entries.refuse(name, "1 to 8 widths for each level")
    return tuple(
        tuple(None if width is None else entries.integer_of(width, name) for width in level)
        for level in widths
    )


def _sample_size(entries: Entries) -> int:
    """Latent frames. diffusers also writes a pair [frames, bins]."""
    size = entries.get("sample_size", UNetConfig.sample_size) or UNetConfig.sample_size
    size = size[0] if isinstance(size, list) and len(size) == 2 else size
    return entries.integer_of(size, "sample_size", 1, 1 << 20)


def _refuse_unsupported(config: dict, where: str):
    """Raises InputError for options of the reference classes that no published model uses."""
    require(
        config,
        where,
        addition_embed_type=None,
        attention_type="default",
        cross_attention_norm=None,
        dual_cross_attention=False,
        encoder_hid_dim=None,
        encoder_hid_dim_type=None,
        reverse_transformer_layers_per_block=None,
        act_fn="silu",
        num_class_embeds=None,
        flip_sin_to_cos=True,
        freq_shift=0,
        only_cross_attention=False,
        conv_in_kernel=3,
        conv_out_kernel=3,
        downsample_padding=1,
        mid_block_scale_factor=1,
        mid_block_type="UNetMidBlock2DCrossAttn",
        num_attention_heads=None,
        resnet_time_scale_shift="default",
        time_embedding_type="positional",
        time_embedding_dim=None,
        time_embedding_act_fn=None,
        timestep_post_act=None,
        time_cond_proj_dim=None,
        use_linear_projection=False,
    )


def _self_attending(contexts, channels, attention, where):
    """AudioLDM calls its U-Net without a context, so each level attends to itself."""
    for level, width, attends in zip(contexts, channels, attention):
        if attends and level not in ((width,), (None,)):
            raise InputError(
                f"{where}: cross_attention_dim {level[0]} is not the level's width {width}; the "
                "U-Net of AudioLDM attends to itself"
            )
    return ((None,),) * len(channels)


def _film(entries: Entries) -> int:
    """Width of the vector that is projected and concatenated to the time embedding; 0 for none."""
    config, where = entries.content, entries.where
    if config.get("class_embed_type") is None:
        return 0
    require(config, where, class_embed_type="simple_projection", class_embeddings_concat=True)
    if not config.get("projection_class_embeddings_input_dim"):
        raise InputError(f"{where}: projection_class_embeddings_input_dim is missing")
    return entries.integer("projection_class_embeddings_input_dim", None)


def write_config(config: UNetConfig) -> PartFiles:
    """The inverse of `read_config`. Heads are given per level, so diffusers computes them too."""
    content = {
        "_class_name": _CLASS,
        "_diffusers_version": DIFFUSERS_VERSION,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "sample_size": config.sample_size,
        "block_out_channels": list(config.channels),
        "down_block_types": [_DOWN[a] for a in config.attention],
        "up_block_types": [_UP[a] for a in reversed(config.attention)],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "layers_per_block": config.layers,
        "cross_attention_dim": [list(c) for c in config.contexts],
        "transformer_layers_per_block": list(config.depths),
        _HEADS: list(config.heads),
        "norm_num_groups": config.groups,
        "norm_eps": config.eps,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }
    if config.film:
        content |= {
            "class_embed_type": "simple_projection",
            "class_embeddings_concat": True,
            "projection_class_embeddings_input_dim": config.film,
        }
    if config.plain:
        # This class has cross-attention as wide as the level that it attends to.
        content |= {
            "_class_name": _PLAIN,
            "cross_attention_dim": list(config.channels),
            "only_cross_attention": False,
            "dual_cross_attention": False,
        }
    return PartFiles(content, kind=content["_class_name"])


def read_shapes(shapes: Shapes) -> UNetConfig:
    """The configuration of an authors' file."""
    channels, layers, attention, transformers = _levels(shapes)
    last = len(channels) - 1
    base, inside = shapes["input_blocks.0.0.weight"][:2]
    film = shapes["film_emb.weight"][1] if "film_emb.weight" in shapes else 0
    first = next(name for names in transformers.values() for name in names)
    depth = shapes.count(f"{first}.transformer_blocks.{{}}.")
    streams = _streams(shapes, channels, transformers)
    size = _head_width(base, film)
    return UNetConfig(
        in_channels=inside,
        out_channels=shapes["out.2.weight"][0],
        channels=channels,
        layers=layers,
        attention=attention,
        contexts=(streams,) * (last + 1),
        depths=(depth,) * (last + 1),
        heads=tuple(shapes.heads(width, size) for width in channels),
        sample_size=1024 // (8 if inside == 16 else 4),
        film=film,
    )


def _levels(shapes: Shapes):
    """(channels of each level, its residual blocks, which attend, {level: transformer names})."""
    channels, blocks, transformers = [], [], {}
    for block in range(1, shapes.count("input_blocks.{}.")):
        name = f"input_blocks.{block}"
        downsample = f"{name}.0.op.weight" in shapes
        if downsample or not channels:
            channels.append(0)
            blocks.append(0)
        if downsample:
            continue
        channels[-1] = shapes[f"{name}.0.out_layers.3.weight"][0]
        blocks[-1] += 1
        count = shapes.count(f"{name}.{{}}.") - 1
        if count:
            names = [f"{name}.{1 + i}" for i in range(count)]
            transformers.setdefault(len(channels) - 1, names)
    if len(set(blocks)) != 1 or not transformers:
        raise InputError(f"{shapes.where}: no U-Net of known form: blocks on its levels {blocks}")
    attention = tuple(level in transformers for level in range(len(channels)))
    return tuple(channels), blocks[0], attention, transformers


def _streams(shapes: Shapes, channels, transformers) -> tuple[int | None, ...]:
    """The context width of each transformer.

    A context that is as wide as its level, on every level, is self-attention (None).
    """
    streams = []
    for place in range(len(next(iter(transformers.values())))):
        widths = {
            level: shapes[f"{names[place]}.transformer_blocks.0.attn2.to_k.weight"][1]
            for level, names in transformers.items()
        }
        self_attention = all(width == channels[level] for level, width in widths.items())
        if not self_attention and len(set(widths.values())) > 1:
            raise InputError(
                f"{shapes.where}: contexts of unequal widths {sorted(widths.values())}"
            )
        streams.append(None if self_attention else next(iter(widths.values())))
    return tuple(streams)


def _inputs(config: UNetConfig) -> tuple:
    """Two context streams of the widths that the configuration names."""
    widths = [1, 1]
    for level in config.contexts:
        for n, width in enumerate(level):
            if width:
                widths[config.stream_of(n)] = width
    side = 2 ** len(config.channels)
    image = jnp.zeros((1, side, side, config.in_channels))
    streams = tuple(jnp.zeros((1, 4, width)) for width in widths)
    film = jnp.zeros((1, config.film)) if config.film else None
    return image, jnp.zeros(1), streams, (None, None), film


PART = Part(
    name="unet",
    folder="unet",
    classes={_CLASS: "audioldm2", _PLAIN: "diffusers"},
    weights=DIFFUSERS_FILE,
    model=UNet,
    inputs=_inputs,
    read=read_config,
    write=write_config,
    table=table,
    interpret=interpret,
    authors=AuthorsPart(
        mark="input_blocks.0.0.weight", table=authors_table, read_shapes=read_shapes
    ),
)
