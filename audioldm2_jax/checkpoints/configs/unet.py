"""diffusers' AudioLDM2UNet2DConditionModel."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import DIFFUSERS, levels, require
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import Convention, UNetConfig

_DOWN = {False: "DownBlock2D", True: "CrossAttnDownBlock2D"}
_UP = {False: "UpBlock2D", True: "CrossAttnUpBlock2D"}


def read_unet(config: dict, convention: Convention, where: str) -> UNetConfig:
    require(
        config,
        where,
        act_fn="silu",
        class_embed_type=None,
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
    channels = tuple(config.get("block_out_channels") or ())
    count = len(channels)
    down = list(config.get("down_block_types", ()))
    attention = tuple(name == _DOWN[True] for name in down)
    mirrored = [_UP[a] for a in reversed(attention)]
    if not channels or down != [_DOWN[a] for a in attention] or len(down) != count:
        raise InputError(f"{where}: down_block_types {down} do not fit the levels {channels}")
    require(config, where, up_block_types=mirrored)
    layers = set(levels(config.get("layers_per_block", 2), count, where, "layers_per_block"))
    if len(layers) > 1:
        raise InputError(f"{where}: layers_per_block differs between levels")
    contexts = levels(config.get("cross_attention_dim", 1280), count, where, "cross_attention_dim")
    depths = config.get("transformer_layers_per_block", 1)
    return UNetConfig(
        in_channels=config.get("in_channels", 4),
        out_channels=config.get("out_channels", 4),
        channels=channels,
        layers=layers.pop(),
        attention=attention,
        contexts=tuple(tuple(c) if isinstance(c, (list, tuple)) else (c,) for c in contexts),
        depths=levels(depths, count, where, "transformer_layers_per_block"),
        heads=_heads(config, channels, attention, convention, where),
        groups=config.get("norm_num_groups", 32),
        eps=config.get("norm_eps", 1e-5),
        sample_size=config.get("sample_size") or UNetConfig.sample_size,
    )


def _heads(config, channels, attention, convention, where):
    """Heads of every level. diffusers calls their number `attention_head_dim`.

    One number for all levels is what the published files say whatever was trained; the convention
    decides what it means. Widths that 32 does not divide cannot be the authors' and keep it.
    """
    given = config.get("attention_head_dim", 8)
    heads = levels(given, len(channels), where, "attention_head_dim")
    if not isinstance(given, (list, tuple)) and convention.heads_from_width:
        heads = tuple(c // 32 if c % 32 == 0 else h for c, h in zip(channels, heads))
    for width, count, used in zip(channels, heads, attention):
        if used and width % count:
            raise InputError(f"{where}: attention_head_dim {count} does not divide width {width}")
    return heads


def write_unet(config: UNetConfig) -> dict:
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
    }
