"""diffusers' AutoencoderKL, transformers' SpeechT5HifiGanConfig."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import DIFFUSERS, filled, require
from audioldm2_jax.presets import HiFiGANConfig, VAEConfig


def read_vae(config: dict, where: str) -> VAEConfig:
    channels = tuple(config.get("block_out_channels") or (64,))
    require(
        config,
        where,
        act_fn="silu",
        out_channels=config.get("in_channels", 3),
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
        mel_channels=config.get("in_channels", 3),
        latent_channels=config.get("latent_channels", 4),
        channels=channels,
        layers=config.get("layers_per_block", 1),
        groups=config.get("norm_num_groups", 32),
        scale=config.get("scaling_factor", 0.18215),
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
    full = filled("SpeechT5HifiGanConfig", config)
    return HiFiGANConfig(
        mels=full.model_in_dim,
        sample_rate=full.sampling_rate,
        channels=full.upsample_initial_channel,
        rates=tuple(full.upsample_rates),
        kernels=tuple(full.upsample_kernel_sizes),
        block_kernels=tuple(full.resblock_kernel_sizes),
        dilations=tuple(tuple(d) for d in full.resblock_dilation_sizes),
        slope=full.leaky_relu_slope,
        normalize=full.normalize_before,
        griffin_lim=config.get("griffin_lim", 0),
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
