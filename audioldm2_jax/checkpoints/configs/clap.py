"""transformers' ClapConfig and ClapFeatureExtractor."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import (
    DEPTH,
    ROWS,
    WIDTH,
    Entries,
    filled,
    heads_of,
    levels,
    require,
)
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
    full = Entries(config, where)
    text = filled("ClapTextConfig", full.get("text_config", {}), f"{where}: text_config")
    require(text.content, where, hidden_act="gelu", projection_hidden_act="relu")
    eps = text.number("layer_norm_eps", RobertaConfig.eps, high=1)
    # transformers' default says nothing about what the weights were trained with.
    open_eps = eps == RobertaConfig.eps and convention.text_eps is not None
    vocab = text.whole("vocab_size", None, high=ROWS)
    audio = None if towers == "text" else full.get("audio_config", {})
    return CLAPConfig(
        text=RobertaConfig(
            vocab=vocab,
            width=text.whole("hidden_size", None),
            depth=text.whole("num_hidden_layers", None, high=DEPTH),
            heads=heads_of(text, "num_attention_heads", "hidden_size"),
            hidden=text.whole("intermediate_size", None, high=4 * WIDTH),
            positions=text.whole("max_position_embeddings", None, 3, ROWS),
            pad_id=text.whole("pad_token_id", 1, 0, vocab - 1),
            types=text.whole("type_vocab_size", None, high=1024),
            eps=convention.text_eps if open_eps else eps,
        ),
        audio=None if audio is None else _read_htsat(audio, f"{where}: audio_config"),
        mel=None if mel is None or towers == "text" else _read_mel(mel),
        width=full.whole("projection_dim", 512),
        scales=towers is None,
    )


def _read_htsat(config: dict, where: str) -> HTSATConfig:
    audio = filled("ClapAudioConfig", config, where)
    require(
        audio.content,
        where,
        hidden_act="gelu",
        flatten_patch_embeds=True,
        patch_embed_input_channels=1,
    )
    patch, stride = audio.whole("patch_size", None, 2, 64), audio.get("patch_stride", [])
    if list(levels(stride, 2, where, "patch_stride")) != [patch] * 2:
        raise InputError(f"{where}: patch_stride {stride!r:.80} differs from patch_size")
    fusion = audio.flag("enable_fusion", False)
    if fusion and audio.get("fusion_type") not in (None, "aff_2d"):
        audio.refuse("fusion_type", "'aff_2d'")
    depths = audio.wholes("depths", high=DEPTH)
    heads = audio.wholes("num_attention_heads", high=1024)
    if len(heads) != len(depths):
        audio.refuse("num_attention_heads", f"one number for each of {len(depths)} depths")
    return HTSATConfig(
        image=audio.whole("spec_size", None, high=1024),
        mels=audio.whole("num_mel_bins", None, high=1024),
        patch=patch,
        embed=audio.whole("patch_embeds_hidden_size", None, high=4096),
        depths=depths,
        heads=heads,
        window=audio.whole("window_size", None, high=16),
        mlp_ratio=audio.number("mlp_ratio", 4.0, 0.01, 64),
        qkv_bias=audio.flag("qkv_bias", True),
        patch_norm=audio.flag("enable_patch_layer_norm", True),
        eps=audio.number("layer_norm_eps", 1e-5, high=1),
        fusion=fusion,
        squeeze=audio.whole("aff_block_r", 4, high=4096),
    )


def _read_mel(config: dict) -> ClapMelConfig:
    where = "feature_extractor/preprocessor_config.json"
    mel = Entries(config, where)
    require(config, where, top_db=None)
    truncation = mel.choice("truncation", "fusion", ("rand_trunc", "fusion"))
    low = mel.number("frequency_min", 0, high=1e6)
    return ClapMelConfig(
        sample_rate=mel.whole("sampling_rate", 48000, high=768_000),
        fft=mel.whole("fft_window_size", 1024, 2, 1 << 16),
        hop=mel.whole("hop_length", 480, high=1 << 16),
        mels=mel.whole("feature_size", 64, high=1024),
        low=low,
        high=mel.number("frequency_max", 14000, low, 1e6),
        seconds=mel.whole("max_length_s", 10, high=600),
        padding=mel.choice("padding", "repeatpad", ("repeatpad", "repeat", "pad")),
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
