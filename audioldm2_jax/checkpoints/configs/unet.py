"""diffusers' AudioLDM2UNet2DConditionModel and UNet2DConditionModel."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import (
    DIFFUSERS,
    Entries,
    groups_of,
    levels,
    require,
)
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import Convention, UNetConfig

_DOWN = {False: "DownBlock2D", True: "CrossAttnDownBlock2D"}
_UP = {False: "UpBlock2D", True: "CrossAttnUpBlock2D"}


def read_unet(
    config: dict, convention: Convention, where: str, kind: str = "AudioLDM2UNet2DConditionModel"
) -> UNetConfig:
    """`kind` is the class: UNet2DConditionModel has one self-attending transformer to a block."""
    entries = Entries(config, where)
    _refuse_unknown(config, where)
    channels = entries.wholes("block_out_channels")
    count, down = len(channels), entries.get("down_block_types", [])
    plain = isinstance(down, (list, tuple))
    attention = tuple(name == _DOWN[True] for name in down) if plain else ()
    if len(attention) != count or list(down) != [_DOWN[a] for a in attention]:
        raise InputError(
            f"{where}: down_block_types {down!r:.200} do not fit the levels {channels}"
        )
    require(config, where, up_block_types=[_UP[a] for a in reversed(attention)])

    def every(name, default, high):
        """A whole number for each level."""
        values = levels(entries.get(name, default), count, where, name)
        return tuple(entries.whole_of(value, name, 1, high) for value in values)

    layers = set(every("layers_per_block", 2, 16))
    if len(layers) > 1:
        raise InputError(f"{where}: layers_per_block differs between levels")
    contexts = _contexts(entries, count)
    if kind == "UNet2DConditionModel":
        contexts = _self_attending(contexts, channels, attention, where)
    return UNetConfig(
        in_channels=entries.whole("in_channels", 4, high=1024),
        out_channels=entries.whole("out_channels", 4, high=1024),
        channels=channels,
        layers=layers.pop(),
        attention=attention,
        contexts=contexts,
        depths=every("transformer_layers_per_block", 1, 16),
        heads=_heads(entries, channels, attention, convention),
        groups=groups_of(entries, channels),
        eps=entries.number("norm_eps", 1e-5, high=1),
        sample_size=_sample_size(entries),
        film=_film(entries),
    )


def _contexts(entries: Entries, count: int) -> tuple[tuple[int | None, ...], ...]:
    """The widths of each level's contexts: one number, or a list with null for self-attention."""
    name = "cross_attention_dim"
    given = levels(entries.get(name, 1280), count, entries.where, name)
    given = [level if isinstance(level, (list, tuple)) else (level,) for level in given]
    if not all(1 <= len(level) <= 8 for level in given):
        entries.refuse(name, "1 to 8 widths for each level")
    return tuple(
        tuple(None if width is None else entries.whole_of(width, name) for width in level)
        for level in given
    )


def _sample_size(entries: Entries) -> int:
    """Latent frames; diffusers takes a pair, too."""
    size = entries.get("sample_size", UNetConfig.sample_size) or UNetConfig.sample_size
    size = size[0] if isinstance(size, list) and len(size) == 2 else size
    return entries.whole_of(size, "sample_size", 1, 1 << 20)


def _refuse_unknown(config: dict, where: str):
    """Options of the reference classes that no published model uses."""
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
    """AudioLDM calls its U-Net without a context, so that each level attends to itself."""
    for level, width, used in zip(contexts, channels, attention):
        if used and level not in ((width,), (None,)):
            raise InputError(
                f"{where}: cross_attention_dim {level[0]} is not the level's width {width}; the "
                "U-Net of AudioLDM attends to itself"
            )
    return ((None,),) * len(channels)


def _film(entries: Entries) -> int:
    """Width of the conditioning vector, which is projected and concatenated to the time's."""
    config, where = entries.content, entries.where
    if config.get("class_embed_type") is None:
        return 0
    require(config, where, class_embed_type="simple_projection", class_embeddings_concat=True)
    if not config.get("projection_class_embeddings_input_dim"):
        raise InputError(f"{where}: projection_class_embeddings_input_dim is missing")
    return entries.whole("projection_class_embeddings_input_dim", None)


def _heads(entries: Entries, channels, attention, convention) -> tuple[int, ...]:
    """Heads of every level. diffusers calls their number `attention_head_dim`.

    One number for all levels is what the published files say whatever was trained; the convention
    decides what it means. Widths that 32 does not divide cannot be the authors' and keep it.
    """
    name = "attention_head_dim"
    given = entries.get(name, 8)
    heads = levels(given, len(channels), entries.where, name)
    heads = tuple(entries.whole_of(count, name, 1, 1024) for count in heads)
    if not isinstance(given, (list, tuple)) and convention.heads_from_width:
        # AudioLDM's L, alone of all, was trained with heads of 64.
        size = 64 if channels[0] == 256 and _film(entries) else 32
        heads = tuple(c // size if c % size == 0 else h for c, h in zip(channels, heads))
    for width, count, used in zip(channels, heads, attention):
        if used and width % count:
            raise InputError(f"{entries.where}: {name} {count} does not divide width {width}")
    return heads


def write_unet(config: UNetConfig) -> dict:
    film = {
        "class_embed_type": "simple_projection",
        "class_embeddings_concat": True,
        "projection_class_embeddings_input_dim": config.film,
    }
    return {
        "_class_name": "AudioLDM2UNet2DConditionModel",
        "_diffusers_version": DIFFUSERS,
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
        # Given for each level, so that diffusers computes what was trained.
        "attention_head_dim": list(config.heads),
        "norm_num_groups": config.groups,
        "norm_eps": config.eps,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        **(film if config.film else {}),
    }


def write_plain_unet(config: UNetConfig) -> dict:
    """UNet2DConditionModel, whose cross-attention is as wide as the level it attends to."""
    return write_unet(config) | {
        "_class_name": "UNet2DConditionModel",
        "cross_attention_dim": list(config.channels),
        "only_cross_attention": False,
        "dual_cross_attention": False,
    }
