"""transformers' ClapModel (also its spelling in older versions, which saved position ids)."""

import numpy as np

from audioldm2_jax.checkpoints.convert import (
    CONV2D,
    EMBEDDING,
    LINEAR,
    NORM,
    PLAIN,
    Rule,
    Table,
)
from audioldm2_jax.models.htsat import relative_index

_TEXT, _LAYER = "text_model", "text_model.encoder.layer.{}"
_AUDIO = "audio_model.audio_encoder"
_BLOCK, _SWIN = f"{_AUDIO}.layers.{{}}.blocks.{{}}", "audio/stages_{}_blocks_{}"


def _attention(source, target):
    """Bert-style attention, feed-forward names."""
    return (
        *(
            Rule(f"{source}.attention.self.{name}", f"{target}/attention/{name}", LINEAR)
            for name in ("query", "key", "value")
        ),
        Rule(f"{source}.attention.output.dense", f"{target}/attention/out", LINEAR),
        Rule(f"{source}.intermediate.dense", f"{target}/mlp/up", LINEAR),
        Rule(f"{source}.output.dense", f"{target}/mlp/down", LINEAR),
    )


def _constants(config):
    """Buffers that transformers keeps in its files."""
    text, audio = config.text, config.audio
    ids = np.arange(text.positions, dtype=np.int64)[None]
    buffers = {
        f"{_TEXT}.embeddings.position_ids": ids,
        f"{_TEXT}.embeddings.token_type_ids": np.zeros_like(ids),
        f"{_AUDIO}.batch_norm.num_batches_tracked": np.zeros((), np.int64),
    }
    for stage, depth in enumerate(audio.depths):
        for block in range(depth):
            name = f"{_BLOCK.format(stage, block)}.attention.self.relative_position_index"
            buffers[name] = relative_index(audio.window).astype(np.int64)
    return buffers


CLAP = Table(
    rules=(
        Rule("logit_scale_t", "text_logit_scale", PLAIN),
        Rule("logit_scale_a", "audio_logit_scale", PLAIN),
        Rule(f"{_TEXT}.embeddings.word_embeddings", "text/tokens", EMBEDDING),
        Rule(f"{_TEXT}.embeddings.token_type_embeddings", "text/types", EMBEDDING),
        Rule(f"{_TEXT}.embeddings.position_embeddings", "text/positions", EMBEDDING),
        Rule(f"{_TEXT}.embeddings.LayerNorm", "text/norm", NORM),
        *_attention(_LAYER, "text/blocks_{}"),
        Rule(f"{_LAYER}.attention.output.LayerNorm", "text/blocks_{}/norm_attention", NORM),
        Rule(f"{_LAYER}.output.LayerNorm", "text/blocks_{}/norm_mlp", NORM),
        Rule(f"{_TEXT}.pooler.dense", "text/pooler", LINEAR),
        Rule(f"{_AUDIO}.batch_norm.weight", "audio/mel_scale", PLAIN),
        Rule(f"{_AUDIO}.batch_norm.bias", "audio/mel_bias", PLAIN),
        Rule(f"{_AUDIO}.batch_norm.running_mean", "audio/mel_mean", PLAIN),
        Rule(f"{_AUDIO}.batch_norm.running_var", "audio/mel_variance", PLAIN),
        Rule(f"{_AUDIO}.patch_embed.proj", "audio/patch", CONV2D),
        Rule(f"{_AUDIO}.patch_embed.norm", "audio/norm_patch", NORM),
        *_attention(_BLOCK, _SWIN),
        Rule(f"{_BLOCK}.layernorm_before", f"{_SWIN}/norm_attention", NORM),
        Rule(f"{_BLOCK}.layernorm_after", f"{_SWIN}/norm_mlp", NORM),
        Rule(f"{_BLOCK}.attention.self.relative_position_bias_table", f"{_SWIN}/positions", PLAIN),
        Rule(
            f"{_AUDIO}.layers.{{}}.downsample.reduction", "audio/stages_{}_merge/reduction", LINEAR
        ),
        Rule(f"{_AUDIO}.layers.{{}}.downsample.norm", "audio/stages_{}_merge/norm", NORM),
        Rule(f"{_AUDIO}.norm", "audio/norm", NORM),
        *(
            Rule(f"{tower}_projection.linear{i}", f"{tower}_projection/{name}", LINEAR)
            for tower in ("text", "audio")
            for i, name in ((1, "up"), (2, "down"))
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
