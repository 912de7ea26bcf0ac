"""Hub configuration files to our configurations and back, one pair of functions for each part.

Readers obey what a file says, fill what it leaves out by the reference classes' defaults, and refuse
by name what no code here computes.
"""

from __future__ import annotations

from typing import Any

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import (
    CLAPConfig,
    ClapMelConfig,
    Convention,
    GPT2Config,
    HiFiGANConfig,
    HTSATConfig,
    ProjectionConfig,
    RobertaConfig,
    ScheduleConfig,
    T5Config,
    UNetConfig,
    VAEConfig,
)

_DIFFUSERS = "0.42.0"


def _require(config: dict, where: str, **expected):
    """Every named field is absent or has the one value that is implemented."""
    for name, value in expected.items():
        found = config.get(name, value)
        found = list(found) if isinstance(found, (list, tuple)) else found
        if found != value:
            raise InputError(f"{where}: {name} is {found!r}; only {value!r} is supported")


def _levels(value, count: int, where: str, name: str) -> tuple:
    """One value for each level: given once, or as a list of the right length."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * count
    if len(values) != count:
        raise InputError(f"{where}: {name} has {len(values)} entries for {count} levels")
    return values


def _filled(name: str, config: dict) -> Any:
    """A transformers configuration with its class's defaults filled in."""
    import transformers

    ignored = ("architectures", "model_type", "transformers_version", "torch_dtype", "dtype")
    return getattr(transformers, name)(**{k: v for k, v in config.items() if k not in ignored})


def read_clap(config: dict, mel: dict, convention: Convention, where: str) -> CLAPConfig:
    """transformers' ClapConfig and the ClapFeatureExtractor's preprocessor_config.json."""
    full = _filled("ClapConfig", config)
    text, audio = full.text_config, full.audio_config
    _require(text.to_dict(), where, hidden_act="gelu", projection_hidden_act="relu")
    _require(
        audio.to_dict(), where, hidden_act="gelu", enable_fusion=False, flatten_patch_embeds=True,
        patch_embed_input_channels=1,
    )
    if list(_levels(audio.patch_stride, 2, where, "patch_stride")) != [audio.patch_size] * 2:
        raise InputError(f"{where}: patch_stride {audio.patch_stride} differs from patch_size")
    # transformers' default says nothing about what the weights were trained with.
    open_eps = text.layer_norm_eps == RobertaConfig.eps and convention.text_eps is not None
    return CLAPConfig(
        text=RobertaConfig(
            vocab=text.vocab_size,
            width=text.hidden_size,
            depth=text.num_hidden_layers,
            heads=text.num_attention_heads,
            hidden=text.intermediate_size,
            positions=text.max_position_embeddings,
            pad_id=text.pad_token_id,
            types=text.type_vocab_size,
            eps=convention.text_eps if open_eps else text.layer_norm_eps,
        ),
        audio=HTSATConfig(
            image=audio.spec_size,
            mels=audio.num_mel_bins,
            patch=audio.patch_size,
            embed=audio.patch_embeds_hidden_size,
            depths=tuple(audio.depths),
            heads=tuple(audio.num_attention_heads),
            window=audio.window_size,
            mlp_ratio=audio.mlp_ratio,
            qkv_bias=audio.qkv_bias,
            patch_norm=audio.enable_patch_layer_norm,
            eps=audio.layer_norm_eps,
        ),
        mel=_read_mel(mel),
        width=full.projection_dim,
    )


def _read_mel(mel: dict) -> ClapMelConfig:
    _require(mel, "feature_extractor/preprocessor_config.json", truncation="rand_trunc", top_db=None)
    return ClapMelConfig(
        sample_rate=mel.get("sampling_rate", 48000),
        fft=mel.get("fft_window_size", 1024),
        hop=mel.get("hop_length", 480),
        mels=mel.get("feature_size", 64),
        low=mel.get("frequency_min", 0),
        high=mel.get("frequency_max", 14000),
        seconds=mel.get("max_length_s", 10),
        padding=mel.get("padding", "repeatpad"),
    )


def write_clap(config: CLAPConfig) -> dict:
    """text_encoder/config.json."""
    text, audio = config.text, config.audio
    return {
        "architectures": ["ClapModel"],
        "model_type": "clap",
        "projection_dim": config.width,
        "projection_hidden_act": "relu",
        "text_config": {
            "vocab_size": text.vocab,
            "hidden_size": text.width,
            "num_hidden_layers": text.depth,
            "num_attention_heads": text.heads,
            "intermediate_size": text.hidden,
            "max_position_embeddings": text.positions,
            "pad_token_id": text.pad_id,
            "type_vocab_size": text.types,
            "layer_norm_eps": text.eps,
        },
        "audio_config": {
            "spec_size": audio.image,
            "num_mel_bins": audio.mels,
            "patch_size": audio.patch,
            "patch_stride": [audio.patch] * 2,
            "patch_embeds_hidden_size": audio.embed,
            "hidden_size": audio.width,
            "depths": list(audio.depths),
            "num_attention_heads": list(audio.heads),
            "window_size": audio.window,
            "mlp_ratio": audio.mlp_ratio,
            "qkv_bias": audio.qkv_bias,
            "enable_patch_layer_norm": audio.patch_norm,
            "layer_norm_eps": audio.eps,
        },
    }


def write_mel(mel: ClapMelConfig) -> dict:
    """feature_extractor/preprocessor_config.json."""
    return {
        "feature_extractor_type": "ClapFeatureExtractor",
        "feature_size": mel.mels,
        "sampling_rate": mel.sample_rate,
        "hop_length": mel.hop,
        "fft_window_size": mel.fft,
        "frequency_min": mel.low,
        "frequency_max": mel.high,
        # transformers multiplies it by the rate and indexes with the product.
        "max_length_s": int(mel.seconds),
        "padding": mel.padding,
        "padding_value": 0.0,
        "return_attention_mask": False,
        "truncation": "rand_trunc",
        "top_db": None,
    }


def read_t5(config: dict, where: str) -> T5Config:
    full = _filled("T5Config", config)
    _require(full.to_dict(), where, feed_forward_proj="gated-gelu")
    return T5Config(
        vocab=full.vocab_size,
        width=full.d_model,
        depth=full.num_layers,
        heads=full.num_heads,
        head_width=full.d_kv,
        hidden=full.d_ff,
        buckets=full.relative_attention_num_buckets,
        distance=full.relative_attention_max_distance,
        eps=full.layer_norm_epsilon,
    )


def write_t5(config: T5Config) -> dict:
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "vocab_size": config.vocab,
        "d_model": config.width,
        "num_layers": config.depth,
        "num_heads": config.heads,
        "d_kv": config.head_width,
        "d_ff": config.hidden,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.distance,
        "layer_norm_epsilon": config.eps,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    }


def read_gpt2(config: dict, where: str) -> GPT2Config:
    full = _filled("GPT2Config", config)
    _require(
        full.to_dict(), where, activation_function="gelu_new", scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False, add_cross_attention=False,
    )
    return GPT2Config(
        vocab=full.vocab_size,
        width=full.n_embd,
        depth=full.n_layer,
        heads=full.n_head,
        hidden=full.n_inner or 4 * full.n_embd,
        positions=full.n_positions,
        eps=full.layer_norm_epsilon,
        tokens=config.get("max_new_tokens") or GPT2Config.tokens,
    )


def write_gpt2(config: GPT2Config) -> dict:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab,
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "n_positions": config.positions,
        "layer_norm_epsilon": config.eps,
        "activation_function": "gelu_new",
        "max_new_tokens": config.tokens,
        "bos_token_id": config.vocab - 1,
        "eos_token_id": config.vocab - 1,
    }


def read_projection(config: dict, where: str) -> ProjectionConfig:
    _require(config, where, use_learned_position_embedding=None)
    names = ("text_encoder_dim", "text_encoder_1_dim", "langauge_model_dim")
    missing = [name for name in names if name not in config]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing")
    return ProjectionConfig(*(config[name] for name in names))


def write_projection(config: ProjectionConfig) -> dict:
    return {
        "_class_name": "AudioLDM2ProjectionModel",
        "_diffusers_version": _DIFFUSERS,
        "text_encoder_dim": config.clap_width,
        "text_encoder_1_dim": config.text_width,
        # The reference's own spelling.
        "langauge_model_dim": config.width,
    }


_DOWN = {False: "DownBlock2D", True: "CrossAttnDownBlock2D"}
_UP = {False: "UpBlock2D", True: "CrossAttnUpBlock2D"}


def read_unet(config: dict, convention: Convention, where: str) -> UNetConfig:
    _require(
        config, where, act_fn="silu", class_embed_type=None, num_class_embeds=None,
        flip_sin_to_cos=True, freq_shift=0, only_cross_attention=False, conv_in_kernel=3,
        conv_out_kernel=3, downsample_padding=1, mid_block_scale_factor=1,
        mid_block_type="UNetMidBlock2DCrossAttn", num_attention_heads=None,
        resnet_time_scale_shift="default", time_embedding_type="positional",
        time_embedding_dim=None, time_embedding_act_fn=None, timestep_post_act=None,
        time_cond_proj_dim=None, use_linear_projection=False,
    )
    channels = tuple(config.get("block_out_channels") or ())
    count = len(channels)
    down = list(config.get("down_block_types", ()))
    attention = tuple(name == _DOWN[True] for name in down)
    mirrored = [_UP[a] for a in reversed(attention)]
    if not channels or down != [_DOWN[a] for a in attention] or len(down) != count:
        raise InputError(f"{where}: down_block_types {down} do not fit the levels {channels}")
    _require(config, where, up_block_types=mirrored)
    layers = set(_levels(config.get("layers_per_block", 2), count, where, "layers_per_block"))
    if len(layers) > 1:
        raise InputError(f"{where}: layers_per_block differs between levels")
    contexts = _levels(config.get("cross_attention_dim", 1280), count, where, "cross_attention_dim")
    depths = config.get("transformer_layers_per_block", 1)
    return UNetConfig(
        in_channels=config.get("in_channels", 4),
        out_channels=config.get("out_channels", 4),
        channels=channels,
        layers=layers.pop(),
        attention=attention,
        contexts=tuple(tuple(c) if isinstance(c, (list, tuple)) else (c,) for c in contexts),
        depths=_levels(depths, count, where, "transformer_layers_per_block"),
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
    heads = _levels(given, len(channels), where, "attention_head_dim")
    if not isinstance(given, (list, tuple)) and convention.heads_from_width:
        heads = tuple(c // 32 if c % 32 == 0 else h for c, h in zip(channels, heads))
    for width, count, used in zip(channels, heads, attention):
        if used and width % count:
            raise InputError(f"{where}: attention_head_dim {count} does not divide width {width}")
    return heads


def write_unet(config: UNetConfig) -> dict:
    return {
        "_class_name": "AudioLDM2UNet2DConditionModel",
        "_diffusers_version": _DIFFUSERS,
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


def read_vae(config: dict, where: str) -> VAEConfig:
    channels = tuple(config.get("block_out_channels") or (64,))
    _require(
        config, where, act_fn="silu", out_channels=config.get("in_channels", 3),
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        use_quant_conv=True, use_post_quant_conv=True, mid_block_add_attention=True,
        shift_factor=None, latents_mean=None, latents_std=None,
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
        "_diffusers_version": _DIFFUSERS,
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
    full = _filled("SpeechT5HifiGanConfig", config)
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
    }


def read_schedule(config: dict, where: str) -> ScheduleConfig:
    _require(
        config, where, beta_schedule="scaled_linear", trained_betas=None,
        prediction_type="epsilon", clip_sample=False, thresholding=False,
        rescale_betas_zero_snr=False, timestep_spacing="leading", set_alpha_to_one=False,
    )
    return ScheduleConfig(
        train_steps=config.get("num_train_timesteps", 1000),
        beta_start=config.get("beta_start", 0.0001),
        beta_end=config.get("beta_end", 0.02),
        steps_offset=config.get("steps_offset", 0),
    )


def write_schedule(config: ScheduleConfig) -> dict:
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": _DIFFUSERS,
        "num_train_timesteps": config.train_steps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "beta_schedule": "scaled_linear",
        "trained_betas": None,
        "prediction_type": "epsilon",
        "clip_sample": False,
        "thresholding": False,
        "set_alpha_to_one": False,
        "steps_offset": config.steps_offset,
        "timestep_spacing": "leading",
        "rescale_betas_zero_snr": False,
    }
