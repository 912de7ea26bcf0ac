"""transformers' ClapModel (also its spelling in older versions, which saved position ids)."""

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
from audioldm2_jax.models.htsat import relative_index

_TEXT = "text_model"
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


def bert_rules(source: str) -> tuple[Rule, ...]:
    """The text tower, which keeps transformers' names in the original too."""
    layer, embeddings = f"{source}.encoder.layer.{{}}", f"{source}.embeddings"
    return (
        Rule(f"{embeddings}.word_embeddings", "text/tokens", EMBEDDING),
        Rule(f"{embeddings}.token_type_embeddings", "text/types", EMBEDDING),
        Rule(f"{embeddings}.position_embeddings", "text/positions", EMBEDDING),
        Rule(f"{embeddings}.LayerNorm", "text/norm", NORM),
        *_attention(layer, "text/blocks_{}"),
        Rule(f"{layer}.attention.output.LayerNorm", "text/blocks_{}/norm_attention", NORM),
        Rule(f"{layer}.output.LayerNorm", "text/blocks_{}/norm_mlp", NORM),
        Rule(f"{source}.pooler.dense", "text/pooler", LINEAR),
    )


# Feature fusion: {name there: (its layers, its norms)}, by number in torch's Sequential.
FUSION = {"local_att": ((0, 3), (1, 4)), "global_att": ((1, 4), (2, 5))}


def embedding_rules(source: str) -> tuple[Rule, ...]:
    """The patch embedding, fusion included; the same names in the original and transformers."""
    target, fusion = "audio/embedding", f"{source}.fusion_model"
    rules = [
        Rule(f"{source}.proj", f"{target}/patch", CONV2D),
        Rule(f"{source}.norm", f"{target}/norm_patch", NORM),
        Rule(f"{source}.mel_conv2d", f"{target}/patch_local", CONV2D),
    ]
    for (there, (layers, norms)), here in zip(FUSION.items(), ("local", "whole")):
        for layer, norm, name in zip(layers, norms, ("down", "up")):
            inner = f"{target}/fusion/{here}"
            rules.append(Rule(f"{fusion}.{there}.{layer}", f"{inner}/{name}", POINTWISE))
            rules.append(Rule(f"{fusion}.{there}.{norm}", f"{inner}/norm_{name}", BATCH_NORM))
    return tuple(rules)


def _constants(config):
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
        for there, (_, norms) in FUSION.items():
            for norm in norms:
                name = f"{_AUDIO}.patch_embed.fusion_model.{there}.{norm}.num_batches_tracked"
                buffers[name] = count
    for stage, depth in enumerate(audio.depths):
        for block in range(depth):
            name = f"{_BLOCK.format(stage, block)}.attention.self.relative_position_index"
            buffers[name] = relative_index(audio.window).astype(np.int64)
    return buffers


CLAP = Table(
    rules=(
        Rule("logit_scale_t", "text_logit_scale", PLAIN),
        Rule("logit_scale_a", "audio_logit_scale", PLAIN),
        *bert_rules(_TEXT),
        Rule(f"{_AUDIO}.batch_norm", "audio/norm_mel", BATCH_NORM),
        *embedding_rules(f"{_AUDIO}.patch_embed"),
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
