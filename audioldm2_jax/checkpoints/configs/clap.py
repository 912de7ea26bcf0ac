"""transformers' ClapConfig and ClapFeatureExtractor."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import filled, levels, require
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import (
    CLAPConfig,
    ClapMelConfig,
    Convention,
    HTSATConfig,
    RobertaConfig,
)


def join_towers(text: dict, audio: dict | None) -> dict:
    """A ClapConfig from those of ClapTextModelWithProjection and ClapAudioModelWithProjection."""
    joined = {"text_config": text, "projection_dim": text.get("projection_dim", 512)}
    joined["audio_config"] = audio or {}
    return joined | {"towers": "both" if audio else "text"}


def read_clap(config: dict, mel: dict | None, convention: Convention, where: str) -> CLAPConfig:
    """transformers' ClapConfig (or `join_towers`) and the ClapFeatureExtractor's configuration."""
    towers = config.get("towers")
    full = filled("ClapConfig", {k: v for k, v in config.items() if k != "towers"})
    text = full.text_config
    require(text.to_dict(), where, hidden_act="gelu", projection_hidden_act="relu")
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
        audio=None if towers == "text" else _read_htsat(full.audio_config, where),
        mel=None if mel is None or towers == "text" else _read_mel(mel),
        width=full.projection_dim,
        scales=towers is None,
    )


def _read_htsat(audio, where: str) -> HTSATConfig:
    require(
        audio.to_dict(),
        where,
        hidden_act="gelu",
        flatten_patch_embeds=True,
        patch_embed_input_channels=1,
    )
    if list(levels(audio.patch_stride, 2, where, "patch_stride")) != [audio.patch_size] * 2:
        raise InputError(f"{where}: patch_stride {audio.patch_stride} differs from patch_size")
    if audio.enable_fusion and audio.fusion_type not in (None, "aff_2d"):
        raise InputError(
            f"{where}: fusion_type is {audio.fusion_type!r}; only 'aff_2d' is supported"
        )
    return HTSATConfig(
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
        fusion=audio.enable_fusion,
        squeeze=audio.aff_block_r,
    )


def _read_mel(mel: dict) -> ClapMelConfig:
    where = "feature_extractor/preprocessor_config.json"
    require(mel, where, top_db=None)
    truncation = mel.get("truncation", "fusion")
    if truncation not in ("fusion", "rand_trunc"):
        raise InputError(f"{where}: truncation is {truncation!r}: rand_trunc or fusion")
    return ClapMelConfig(
        sample_rate=mel.get("sampling_rate", 48000),
        fft=mel.get("fft_window_size", 1024),
        hop=mel.get("hop_length", 480),
        mels=mel.get("feature_size", 64),
        low=mel.get("frequency_min", 0),
        high=mel.get("frequency_max", 14000),
        seconds=mel.get("max_length_s", 10),
        padding=mel.get("padding", "repeatpad"),
        fusion=truncation == "fusion",
    )


def write_clap(config: CLAPConfig) -> dict:
    """config.json of ClapModel."""
    return {
        "architectures": ["ClapModel"],
        "model_type": "clap",
        "projection_dim": config.width,
        "projection_hidden_act": "relu",
        "text_config": _write_text(config.text),
        "audio_config": _write_audio(config.audio),
    }


def write_towers(config: CLAPConfig) -> tuple[dict, dict | None]:
    """config.json of ClapTextModelWithProjection and of ClapAudioModelWithProjection."""
    shared = {"projection_dim": config.width, "projection_hidden_act": "relu"}
    text = {"architectures": ["ClapTextModelWithProjection"], "model_type": "clap_text_model"}
    text |= shared | _write_text(config.text)
    if config.audio is None:
        return text, None
    audio = {"architectures": ["ClapAudioModelWithProjection"], "model_type": "clap_audio_model"}
    return text, audio | shared | _write_audio(config.audio)


def _write_text(text: RobertaConfig) -> dict:
    return {
        "vocab_size": text.vocab,
        "hidden_size": text.width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "intermediate_size": text.hidden,
        "max_position_embeddings": text.positions,
        "pad_token_id": text.pad_id,
        "type_vocab_size": text.types,
        "layer_norm_eps": text.eps,
    }


def _write_audio(audio: HTSATConfig) -> dict:
    return {
        "spec_size": audio.image,
        "num_mel_bins": audio.mels,
        "patch_size": audio.patch,
        "patch_stride": [audio.patch] * 2,
        "patch_embeds_hidden_size": audio.embed,
        "hidden_size": audio.width,
        "depths": list(audio.depths),
        "num_attention_heads": list(audio.heads),
        "num_hidden_layers": len(audio.depths),
        "window_size": audio.window,
        "mlp_ratio": audio.mlp_ratio,
        "qkv_bias": audio.qkv_bias,
        "enable_patch_layer_norm": audio.patch_norm,
        "layer_norm_eps": audio.eps,
        "enable_fusion": audio.fusion,
        "aff_block_r": audio.squeeze,
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
        "max_length_s": mel.seconds,
        "padding": mel.padding,
        "padding_value": 0.0,
        "return_attention_mask": False,
        "truncation": "fusion" if mel.fusion else "rand_trunc",
        "top_db": None,
    }
