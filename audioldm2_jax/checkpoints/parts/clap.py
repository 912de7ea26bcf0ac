"""CLAP: transformers' ClapModel, or its text tower with an audio tower beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    ROWS,
    WIDTH,
    Entries,
    heads_of,
    levels,
    require,
    transformers_entries,
)
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    TokenizerSpec,
    token_ids,
)
from audioldm2_jax.checkpoints.parts.clap_tables import authors_table, table
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.presets import (
    CLAPConfig,
    ClapMelConfig,
    Convention,
    HTSATConfig,
    RobertaConfig,
)

_CLASS, _TEXT_TOWER = "ClapModel", "ClapTextModelWithProjection"
# AudioLDM's layout lacks the audio tower; we store it in a folder beside the text tower.
_AUDIO_FOLDER = "audio_encoder"
_AUDIO_FILE = f"{_AUDIO_FOLDER}/config.json"
_EXTRACTOR_FILE = "feature_extractor/preprocessor_config.json"
# Newer versions of transformers write the feature extractor there.
_PROCESSOR_FILE = "processor_config.json"


def read_config(files: PartFiles) -> CLAPConfig:
    """transformers' ClapConfig and the configuration of ClapFeatureExtractor. Raises InputError."""
    if files.kind == _TEXT_TOWER:
        return _read_towers(files)
    entries = Entries(files.content, files.where)
    text, audio = (entries.get(f"{tower}_config", {}) for tower in ("text", "audio"))
    return CLAPConfig(
        text=_read_text(text, files.where),
        audio=_read_audio(audio, f"{files.where}: audio_config"),
        mel=_read_mel(_front_end(files)),
        width=entries.integer("projection_dim", 512),
    )


def _read_towers(files: PartFiles) -> CLAPConfig:
    """ClapTextModelWithProjection, and ClapAudioModelWithProjection where it lies beside it."""
    audio, mel = files.beside.get(_AUDIO_FILE), files.beside.get(_EXTRACTOR_FILE)
    return CLAPConfig(
        text=_read_text(files.content, files.where),
        audio=_read_audio(audio, f"{files.where}: audio_config") if audio else None,
        mel=_read_mel(mel) if audio and mel is not None else None,
        width=Entries(files.content, files.where).integer("projection_dim", 512),
        scales=False,
    )


def interpret(config: CLAPConfig, files: PartFiles, convention: Convention) -> CLAPConfig:
    """The convention's epsilon in the text tower, if the file has transformers' default.

    The default says nothing about the value used in training.
    """
    if convention.text_eps is None or config.text.eps != RobertaConfig.eps:
        return config
    return dataclasses.replace(
        config, text=dataclasses.replace(config.text, eps=convention.text_eps)
    )


def _front_end(files: PartFiles) -> dict:
    """The feature extractor's configuration. Raises InputError if a checkpoint lacks it."""
    if (mel := files.beside.get(_EXTRACTOR_FILE)) is not None:
        return mel
    if files.kind:
        path = Path(files.where).parent.parent / _EXTRACTOR_FILE
        raise InputError(f"{path}: missing; the checkpoint is incomplete")
    processor = files.beside.get(_PROCESSOR_FILE, {})
    if "feature_extractor" in processor:
        return processor["feature_extractor"]
    # A model alone without a front end has CLAP's own, which depends on fusion.
    audio = files.content.get("audio_config")
    fusion = isinstance(audio, dict) and audio.get("enable_fusion") is True
    return _write_mel(ClapMelConfig(fusion=fusion))


def _read_text(content: dict, where: str) -> RobertaConfig:
    text = transformers_entries("ClapTextConfig", content, f"{where}: text_config")
    require(text.content, where, hidden_act="gelu", projection_hidden_act="relu")
    vocab = text.integer("vocab_size", None, high=ROWS)
    return RobertaConfig(
        vocab=vocab,
        width=text.integer("hidden_size", None),
        depth=text.integer("num_hidden_layers", None, high=DEPTH),
        heads=heads_of(text, "num_attention_heads", "hidden_size"),
        hidden=text.integer("intermediate_size", None, high=4 * WIDTH),
        positions=text.integer("max_position_embeddings", None, 3, ROWS),
        pad_id=text.integer("pad_token_id", 1, 0, vocab - 1),
        types=text.integer("type_vocab_size", None, high=1024),
        eps=text.number("layer_norm_eps", RobertaConfig.eps, high=1),
    )


def _read_audio(content: dict, where: str) -> HTSATConfig:
    audio = transformers_entries("ClapAudioConfig", content, where)
    require(
        audio.content,
        where,
        hidden_act="gelu",
        flatten_patch_embeds=True,
        patch_embed_input_channels=1,
    )
    patch, stride = audio.integer("patch_size", None, 2, 64), audio.get("patch_stride", [])
    if list(levels(stride, 2, where, "patch_stride")) != [patch] * 2:
        raise InputError(f"{where}: patch_stride {stride!r:.80} differs from patch_size")
    fusion = audio.flag("enable_fusion", False)
    if fusion and audio.get("fusion_type") not in (None, "aff_2d"):
        audio.refuse("fusion_type", "'aff_2d'")
    depths = audio.integers("depths", high=DEPTH)
    heads = audio.integers("num_attention_heads", high=1024)
    if len(heads) != len(depths):
        audio.refuse("num_attention_heads", f"one number for each of {len(depths)} depths")
    return HTSATConfig(
        image=audio.integer("spec_size", None, high=1024),
        mels=audio.integer("num_mel_bins", None, high=1024),
        patch=patch,
        embed=audio.integer("patch_embeds_hidden_size", None, high=4096),
        depths=depths,
        heads=heads,
        window=audio.integer("window_size", None, high=16),
        mlp_ratio=audio.number("mlp_ratio", 4.0, 0.01, 64),
        qkv_bias=audio.flag("qkv_bias", True),
        patch_norm=audio.flag("enable_patch_layer_norm", True),
        eps=audio.number("layer_norm_eps", 1e-5, high=1),
        fusion=fusion,
        squeeze=audio.integer("aff_block_r", 4, high=4096),
    )


def _read_mel(config: dict) -> ClapMelConfig:
    mel = Entries(config, _EXTRACTOR_FILE)
    require(config, _EXTRACTOR_FILE, top_db=None)
    truncation = mel.choice("truncation", "fusion", ("rand_trunc", "fusion"))
    low = mel.number("frequency_min", 0, high=1e6)
    return ClapMelConfig(
        sample_rate=mel.integer("sampling_rate", 48000, high=768_000),
        fft=mel.integer("fft_window_size", 1024, 2, 1 << 16),
        hop=mel.integer("hop_length", 480, high=1 << 16),
        mels=mel.integer("feature_size", 64, high=1024),
        low=low,
        high=mel.number("frequency_max", 14000, low, 1e6),
        seconds=mel.integer("max_length_s", 10, high=600),
        padding=mel.choice("padding", "repeatpad", ("repeatpad", "repeat", "pad")),
        fusion=truncation == "fusion",
    )


def write_config(config: CLAPConfig) -> PartFiles:
    """The inverse of `read_config`: ClapModel, or its towers where it has no temperatures."""
    beside = {} if config.mel is None else {_EXTRACTOR_FILE: _write_mel(config.mel)}
    shared = {"projection_dim": config.width, "projection_hidden_act": "relu"}
    if config.scales:
        content = {"architectures": [_CLASS], "model_type": "clap"} | shared
        content["text_config"] = _write_text(config.text)
        content["audio_config"] = _write_audio(config.audio)
        return PartFiles(content, kind=_CLASS, beside=beside)
    if config.audio is not None:
        audio = {"architectures": ["ClapAudioModelWithProjection"]}
        audio |= {"model_type": "clap_audio_model"} | shared
        beside[_AUDIO_FILE] = audio | _write_audio(config.audio)
    text = {"architectures": [_TEXT_TOWER], "model_type": "clap_text_model"}
    return PartFiles(text | shared | _write_text(config.text), kind=_TEXT_TOWER, beside=beside)


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


def _write_mel(mel: ClapMelConfig) -> dict:
    """The configuration of ClapFeatureExtractor."""
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


def read_shapes(shapes: Shapes) -> CLAPConfig:
    """The configuration of an authors' file."""
    embeddings = "text_branch.embeddings"
    vocab, width = shapes[f"{embeddings}.word_embeddings.weight"]
    text = RobertaConfig(
        vocab=vocab,
        width=width,
        depth=shapes.count("text_branch.encoder.layer.{}."),
        heads=shapes.heads(width, 64),
        hidden=shapes["text_branch.encoder.layer.0.intermediate.dense.weight"][0],
        positions=shapes[f"{embeddings}.position_embeddings.weight"][0],
        types=shapes[f"{embeddings}.token_type_embeddings.weight"][0],
        eps=1e-5,
    )
    audio = _audio_of_shapes(shapes)
    return CLAPConfig(
        text=text,
        audio=audio,
        mel=ClapMelConfig(mels=audio.mels, fusion=audio.fusion),
        width=shapes["text_projection.2.weight"][0],
    )


def _audio_of_shapes(shapes: Shapes) -> HTSATConfig:
    stage = "audio_branch.layers.{}"
    stages = shapes.count(f"{stage}.")
    tables = [
        shapes[f"{stage.format(i)}.blocks.0.attn.relative_position_bias_table"]
        for i in range(stages)
    ]
    patch = "audio_branch.patch_embed"
    embed, _, size, _ = shapes[f"{patch}.proj.weight"]
    mels = shapes["audio_branch.bn0.weight"][0]
    fusion = f"{patch}.mel_conv2d.weight" in shapes
    squeeze = HTSATConfig.squeeze
    if fusion:
        squeeze = embed // shapes[f"{patch}.fusion_model.local_att.0.weight"][0]
    return HTSATConfig(
        image=4 * mels,
        mels=mels,
        patch=size,
        embed=embed,
        depths=tuple(shapes.count(f"{stage.format(i)}.blocks.{{}}.") for i in range(stages)),
        heads=tuple(table[1] for table in tables),
        window=(round(tables[0][0] ** 0.5) + 1) // 2,
        mlp_ratio=shapes[f"{stage.format(0)}.blocks.0.mlp.fc1.weight"][0] / embed,
        qkv_bias=f"{stage.format(0)}.blocks.0.attn.qkv.bias" in shapes,
        patch_norm=f"{patch}.norm.weight" in shapes,
        fusion=fusion,
        squeeze=squeeze,
    )


def _inputs(config: CLAPConfig) -> tuple:
    """The fewest frames that the audio tower takes; none without one."""
    if config.audio is None:
        return token_ids(), token_ids()
    mels = config.audio.mels
    image = jnp.zeros((1, 4, 8, mels) if config.audio.fusion else (1, 8, mels))
    return token_ids(), token_ids(), image, jnp.ones(1, bool)


def _apart(config: CLAPConfig) -> dict[str, str]:
    """The audio tower has a folder of its own if the text tower has."""
    return {_AUDIO_FOLDER: "audio_"} if config.audio and not config.scales else {}


PART = Part(
    name="clap",
    folder="text_encoder",
    classes={_CLASS: "transformers", _TEXT_TOWER: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=CLAP,
    inputs=_inputs,
    read=read_config,
    write=write_config,
    table=table,
    interpret=interpret,
    beside=(_AUDIO_FILE, _EXTRACTOR_FILE, _PROCESSOR_FILE),
    components={"feature_extractor": ("transformers", "ClapFeatureExtractor")},
    apart=_apart,
    tokenizer=TokenizerSpec(
        folder="tokenizer",
        kinds=("Roberta",),
        written="RobertaTokenizerFast",
        source="FacebookAI/roberta-base",
        length=512,
    ),
    authors=AuthorsPart(
        mark="text_branch.embeddings.word_embeddings.weight",
        table=authors_table,
        read_shapes=read_shapes,
    ),
    describes=lambda content: content.get("model_type") == "clap",
    # A CLAP of its own is a whole ClapModel, with its temperatures.
    alone=lambda config: dataclasses.replace(config, scales=True),
)
