"""diffusers' AutoencoderKL, transformers' SpeechT5HifiGanConfig."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import (
    DIFFUSERS,
    Entries,
    filled,
    groups_of,
    require,
)
from audioldm2_jax.presets import HiFiGANConfig, VAEConfig


def read_vae(config: dict, where: str) -> VAEConfig:
    entries = Entries(config, where)
    channels = entries.wholes("block_out_channels", (64,))
    mels = entries.whole("in_channels", 3, high=1024)
    require(
        config,
        where,
        act_fn="silu",
        out_channels=mels,
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        use_quant_conv=True,
        use_post_quant_conv=True,
        mid_block_add_attention=True,
        shift_factor=None,
        latents_mean=None,
        latents_std=None,
    )
    return VAEConfig(
        mel_channels=mels,
        latent_channels=entries.whole("latent_channels", 4, high=1024),
        channels=channels,
        layers=entries.whole("layers_per_block", 1, high=16),
        groups=groups_of(entries, channels),
        scale=entries.number("scaling_factor", 0.18215, 1e-6, 1e6),
    )


def write_vae(config: VAEConfig) -> dict:
    levels = len(config.channels)
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": DIFFUSERS,
        "in_channels": config.mel_channels,
        "out_channels": config.mel_channels,
        "latent_channels": config.latent_channels,
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": config.layers,
        "norm_num_groups": config.groups,
        "scaling_factor": config.scale,
        "act_fn": "silu",
        "sample_size": 1024,
    }


def read_vocoder(config: dict, where: str) -> HiFiGANConfig:
    full = filled("SpeechT5HifiGanConfig", config, where)
    rates = full.wholes("upsample_rates", high=64)
    kernels = full.wholes("upsample_kernel_sizes", high=256)
    if len(kernels) != len(rates) or any(k < r for k, r in zip(kernels, rates)):
        full.refuse("upsample_kernel_sizes", f"one size, not below the rate, for each of {rates}")
    blocks = full.wholes("resblock_kernel_sizes", high=256)
    dilations = full.get("resblock_dilation_sizes", [])
    if not isinstance(dilations, list) or len(dilations) != len(blocks):
        full.refuse("resblock_dilation_sizes", "a list for each of resblock_kernel_sizes")
    inner = [Entries({"resblock_dilation_sizes": d}, where) for d in dilations]
    channels = full.whole("upsample_initial_channel", None)
    if channels % 2 ** len(rates):
        full.refuse("upsample_initial_channel", f"a multiple of {2 ** len(rates)}")
    return HiFiGANConfig(
        mels=full.whole("model_in_dim", None, high=1024),
        sample_rate=full.whole("sampling_rate", None, high=768_000),
        channels=channels,
        rates=rates,
        kernels=kernels,
        block_kernels=blocks,
        dilations=tuple(e.wholes("resblock_dilation_sizes", high=1024) for e in inner),
        slope=full.number("leaky_relu_slope", 0.1, high=1),
        normalize=full.flag("normalize_before", True),
        griffin_lim=full.whole("griffin_lim", 0, 0, 1000),
    )


def write_vocoder(config: HiFiGANConfig) -> dict:
    return {
        "architectures": ["SpeechT5HifiGan"],
        "model_type": "speecht5_hifigan",
        "model_in_dim": config.mels,
        "sampling_rate": config.sample_rate,
        "upsample_initial_channel": config.channels,
        "upsample_rates": list(config.rates),
        "upsample_kernel_sizes": list(config.kernels),
        "resblock_kernel_sizes": list(config.block_kernels),
        "resblock_dilation_sizes": [list(d) for d in config.dilations],
        "leaky_relu_slope": config.slope,
        "normalize_before": config.normalize,
    } | ({"griffin_lim": config.griffin_lim} if config.griffin_lim else {})
