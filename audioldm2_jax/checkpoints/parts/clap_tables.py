"""Conversion tables of CLAP: transformers' ClapModel, and LAION's original."""

from __future__ import annotations

import dataclasses

import numpy as np

from audioldm2_jax.checkpoints.convert import (
    BATCH_NORM,
    CONV2D,
    EMBEDDING,
    LINEAR,
    NORM,
    PLAIN,
    POINTWISE,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.blocks import attention_rules, qkv
from audioldm2_jax.models.htsat import relative_index
from audioldm2_jax.presets import CLAPConfig

_TEXT, _AUDIO = "text_model", "audio_model.audio_encoder"
_BLOCK, _TARGET = f"{_AUDIO}.layers.{{}}.blocks.{{}}", "audio/stages_{}_blocks_{}"
# {torch's name in the fusion model: (ours, its layers, its norms)}; torch numbers both in one list.
_FUSION = {
    "local_att": ("local", (0, 3), (1, 4)),
    "global_att": ("whole", (1, 4), (2, 5)),
}
_BERT_ATTENTION = ("self.query", "self.key", "self.value", "output.dense")
_SCALES = ("logit_scale_t", "logit_scale_a")


def table(config: CLAPConfig) -> Table:
    """transformers' names, also those of older versions, which saved position ids."""
    return _without_scales(_TABLE, config)


def authors_table(config: CLAPConfig) -> Table:
    """LAION's names."""
    return _without_scales(_AUTHORS_TABLE, config)


def _without_scales(base: Table, config: CLAPConfig) -> Table:
    """Temperatures in a file are ignored where the configuration has none."""
    ignored = () if config.scales else _SCALES
    return dataclasses.replace(base, ignored=(*base.ignored, *ignored))


def _bert_rules(source: str, target: str) -> tuple[Rule, ...]:
    """Attention and feed-forward of one block, as Bert names them."""
    return (
        *attention_rules(f"{source}.attention", f"{target}/attention", _BERT_ATTENTION),
        Rule(f"{source}.intermediate.dense", f"{target}/mlp/up", LINEAR),
        Rule(f"{source}.output.dense", f"{target}/mlp/down", LINEAR),
    )


def _text_rules(source: str) -> tuple[Rule, ...]:
    """The text tower; LAION's original has transformers' names."""
    layer, embeddings = f"{source}.encoder.layer.{{}}", f"{source}.embeddings"
    return (
        Rule(f"{embeddings}.word_embeddings", "text/tokens", EMBEDDING),
        Rule(f"{embeddings}.token_type_embeddings", "text/types", EMBEDDING),
        Rule(f"{embeddings}.position_embeddings", "text/positions", EMBEDDING),
        Rule(f"{embeddings}.LayerNorm", "text/norm", NORM),
        *_bert_rules(layer, "text/blocks_{}"),
        Rule(f"{layer}.attention.output.LayerNorm", "text/blocks_{}/norm_attention", NORM),
        Rule(f"{layer}.output.LayerNorm", "text/blocks_{}/norm_mlp", NORM),
        Rule(f"{source}.pooler.dense", "text/pooler", LINEAR),
    )


def _embedding_rules(source: str) -> tuple[Rule, ...]:
    """The patch embedding with its fusion model; LAION's original has transformers' names."""
    target = "audio/embedding"
    rules = [
        Rule(f"{source}.proj", f"{target}/patch", CONV2D),
        Rule(f"{source}.norm", f"{target}/norm_patch", NORM),
        Rule(f"{source}.mel_conv2d", f"{target}/patch_local", CONV2D),
    ]
    for branch, (name, layers, norms) in _FUSION.items():
        for layer, norm, step in zip(layers, norms, ("down", "up")):
            fusion, ours = f"{source}.fusion_model.{branch}", f"{target}/fusion/{name}"
            rules.append(Rule(f"{fusion}.{layer}", f"{ours}/{step}", POINTWISE))
            rules.append(Rule(f"{fusion}.{norm}", f"{ours}/norm_{step}", BATCH_NORM))
    return tuple(rules)


def _common_rules(text: str, audio: str, projection: tuple[str, str]) -> tuple[Rule, ...]:
    """Rules that both namings share.

    text, audio: the towers' modules; projection: the two layers of a projection.
    """
    downsample, merge = f"{audio}.layers.{{}}.downsample", "audio/stages_{}_merge"
    return (
        Rule(_SCALES[0], "text_logit_scale", PLAIN),
        Rule(_SCALES[1], "audio_logit_scale", PLAIN),
        *_text_rules(text),
        *_embedding_rules(f"{audio}.patch_embed"),
        Rule(f"{downsample}.reduction", f"{merge}/reduction", LINEAR),
        Rule(f"{downsample}.norm", f"{merge}/norm", NORM),
        Rule(f"{audio}.norm", "audio/norm", NORM),
        *(
            Rule(f"{tower}_projection.{source}", f"{tower}_projection/{target}", LINEAR)
            for tower in ("text", "audio")
            for source, target in zip(projection, ("up", "down"))
        ),
    )


def _constants(config: CLAPConfig) -> dict[str, np.ndarray]:
    """Buffers that transformers keeps in its files."""
    text, audio = config.text, config.audio
    ids, count = np.arange(text.positions, dtype=np.int64)[None], np.zeros((), np.int64)
    buffers = {
        f"{_TEXT}.embeddings.position_ids": ids,
        f"{_TEXT}.embeddings.token_type_ids": np.zeros_like(ids),
    }
    if audio is None:
        return buffers
    buffers[f"{_AUDIO}.batch_norm.num_batches_tracked"] = count
    if audio.fusion:
        for branch, (_, _, norms) in _FUSION.items():
            for norm in norms:
                name = f"{_AUDIO}.patch_embed.fusion_model.{branch}.{norm}.num_batches_tracked"
                buffers[name] = count
    for stage, depth in enumerate(audio.depths):
        for block in range(depth):
            name = f"{_BLOCK.format(stage, block)}.attention.self.relative_position_index"
            buffers[name] = relative_index(audio.window).astype(np.int64)
    return buffers


_TABLE = Table(
    rules=(
        *_common_rules(_TEXT, _AUDIO, ("linear1", "linear2")),
        Rule(f"{_AUDIO}.batch_norm", "audio/norm_mel", BATCH_NORM),
        *_bert_rules(_BLOCK, _TARGET),
        Rule(f"{_BLOCK}.layernorm_before", f"{_TARGET}/norm_attention", NORM),
        Rule(f"{_BLOCK}.layernorm_after", f"{_TARGET}/norm_mlp", NORM),
        Rule(
            f"{_BLOCK}.attention.self.relative_position_bias_table", f"{_TARGET}/positions", PLAIN
        ),
    ),
    ignored=(
        r".*\.position_ids",
        r".*\.token_type_ids",
        r".*\.relative_position_index",
        r".*\.attn_mask",
        r".*\.num_batches_tracked",
    ),
    constants=_constants,
)

_LAION_BLOCK = "audio_branch.layers.{}.blocks.{}"

_AUTHORS_TABLE = Table(
    rules=(
        *_common_rules("text_branch", "audio_branch", ("0", "2")),
        Rule("audio_branch.bn0", "audio/norm_mel", BATCH_NORM),
        Rule(f"{_LAION_BLOCK}.norm1", f"{_TARGET}/norm_attention", NORM),
        Rule(f"{_LAION_BLOCK}.attn.qkv", qkv(f"{_TARGET}/attention"), LINEAR),
        Rule(f"{_LAION_BLOCK}.attn.proj", f"{_TARGET}/attention/out", LINEAR),
        Rule(f"{_LAION_BLOCK}.attn.relative_position_bias_table", f"{_TARGET}/positions", PLAIN),
        Rule(f"{_LAION_BLOCK}.norm2", f"{_TARGET}/norm_mlp", NORM),
        Rule(f"{_LAION_BLOCK}.mlp.fc1", f"{_TARGET}/mlp/up", LINEAR),
        Rule(f"{_LAION_BLOCK}.mlp.fc2", f"{_TARGET}/mlp/down", LINEAR),
    ),
    # Front end, tagging head and the classifier's transforms are no part of the features.
    ignored=(
        r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*",
        r"(text|audio)_transform\..*",
        r".*\.(position_ids|token_type_ids|relative_position_index|attn_mask|num_batches_tracked)",
    ),
)
