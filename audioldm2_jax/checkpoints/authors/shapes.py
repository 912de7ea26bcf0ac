"""Configurations read off the names and shapes of the authors' tensors.

Shapes say nearly all. What they do not say is fixed in the authors' code: heads of 64 channels in
CLAP's text tower, GPT-2 and AudioMAE, of 32 in U-Nets (64 in AudioLDM's L), norms of 32 groups, a
vocoder's strides.
"""

from __future__ import annotations

import re

from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import (
    AudioMAEConfig,
    CLAPConfig,
    ClapMelConfig,
    GPT2Config,
    HiFiGANConfig,
    HTSATConfig,
    PhonemeConfig,
    ProjectionConfig,
    RobertaConfig,
    T5Config,
    UNetConfig,
    VAEConfig,
)

# {kernels of the upsampling layers: (their strides, Hz)}, as the two vocoders were trained.
_VOCODERS = {
    (16, 16, 8, 4, 4): ((5, 4, 2, 2, 2), 16000),
    (12, 10, 8, 4, 4): ((6, 5, 4, 2, 2), 48000),
}


class Shapes:
    """Shapes of one part's tensors; a missing or empty one is an InputError that names it."""

    def __init__(self, weights: Weights, where: str):
        self.weights, self.where = weights, where

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self.weights:
            raise InputError(f"{self.where}: tensor {name} is missing")
        shape = self.weights.shape(name)
        if not shape or 0 in shape:
            raise InputError(f"{self.where}: tensor {name} has shape {shape}, which is no model's")
        return shape

    def __contains__(self, name: str) -> bool:
        return name in self.weights

    def count(self, pattern: str) -> int:
        """How many numbers stand at {} in the names that begin with the pattern: 0, 1, ..."""
        start = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)"))
        found = {int(m.group(1)) for name in self.weights if (m := start.match(name))}
        return max(found) + 1 if found else 0

    def heads(self, width: int, size: int) -> int:
        if width % size:
            raise InputError(f"{self.where}: width {width} is no multiple of a head's {size}")
        return width // size


def unet(shapes: Shapes) -> UNetConfig:
    channels, layers, attention, transformers = _levels(shapes)
    last = len(channels) - 1
    base, inside = shapes["input_blocks.0.0.weight"][:2]
    film = shapes["film_emb.weight"][1] if "film_emb.weight" in shapes else 0
    first = next(k for found in transformers.values() for k in found)
    depth = shapes.count(f"{first}.transformer_blocks.{{}}.")
    streams = _streams(shapes, channels, transformers)
    size = 64 if film and base == 256 else 32
    frames = 1024 // (8 if inside == 16 else 4)
    return UNetConfig(
        in_channels=inside,
        out_channels=shapes["out.2.weight"][0],
        channels=channels,
        layers=layers,
        attention=attention,
        contexts=(streams,) * (last + 1),
        depths=(depth,) * (last + 1),
        heads=tuple(shapes.heads(width, size) for width in channels),
        sample_size=frames,
        film=film,
    )


def _levels(shapes: Shapes):
    """Width of each level, residual blocks on each, which attend, {level: its transformers}."""
    channels, blocks, transformers = [], [], {}
    for block in range(1, shapes.count("input_blocks.{}.")):
        name = f"input_blocks.{block}"
        if f"{name}.0.op.weight" in shapes:
            channels.append(0)
            blocks.append(0)
            continue
        if not channels:
            channels.append(0)
            blocks.append(0)
        channels[-1] = shapes[f"{name}.0.out_layers.3.weight"][0]
        blocks[-1] += 1
        count = shapes.count(f"{name}.{{}}.") - 1
        if count:
            found = [f"{name}.{1 + place}" for place in range(count)]
            transformers.setdefault(len(channels) - 1, found)
    if len(set(blocks)) != 1 or not transformers:
        raise InputError(f"{shapes.where}: no U-Net of known form: blocks on its levels {blocks}")
    attention = tuple(level in transformers for level in range(len(channels)))
    return tuple(channels), blocks[0], attention, transformers


def _streams(shapes: Shapes, channels, transformers) -> tuple[int | None, ...]:
    """The context of each transformer; as wide as its level, on every level, means itself."""
    found = []
    for place in range(len(next(iter(transformers.values())))):
        widths = {
            level: shapes[f"{names[place]}.transformer_blocks.0.attn2.to_k.weight"][1]
            for level, names in transformers.items()
        }
        itself = all(width == channels[level] for level, width in widths.items())
        if not itself and len(set(widths.values())) > 1:
            raise InputError(
                f"{shapes.where}: contexts of unequal widths {sorted(widths.values())}"
            )
        found.append(None if itself else next(iter(widths.values())))
    return tuple(found)


def vae(shapes: Shapes, scale: float) -> VAEConfig:
    levels = shapes.count("encoder.down.{}.")
    return VAEConfig(
        mel_channels=shapes["encoder.conv_in.weight"][1],
        latent_channels=shapes["post_quant_conv.weight"][0],
        channels=tuple(shapes[f"encoder.down.{i}.block.0.conv2.weight"][0] for i in range(levels)),
        layers=shapes.count("encoder.down.0.block.{}."),
        scale=scale,
    )


def vocoder(shapes: Shapes) -> HiFiGANConfig:
    stages = shapes.count("ups.{}.")
    kernels = tuple(shapes[f"ups.{i}.weight"][2] for i in range(stages))
    if kernels not in _VOCODERS:
        raise InputError(
            f"{shapes.where}: a vocoder whose upsampling kernels are {kernels}; known are "
            f"{' and '.join(map(str, _VOCODERS))}"
        )
    rates, sample_rate = _VOCODERS[kernels]
    channels, mels, _ = shapes["conv_pre.weight"]
    blocks = shapes.count("resblocks.{}.") // stages
    dilations = (1, 3, 5)[: shapes.count("resblocks.0.convs1.{}.")]
    return HiFiGANConfig(
        mels=mels,
        sample_rate=sample_rate,
        channels=channels,
        rates=rates,
        kernels=kernels,
        block_kernels=tuple(shapes[f"resblocks.{i}.convs1.0.weight"][2] for i in range(blocks)),
        dilations=(dilations,) * blocks,
    )


def clap(shapes: Shapes) -> CLAPConfig:
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
    audio = _htsat(shapes)
    return CLAPConfig(
        text=text,
        audio=audio,
        mel=ClapMelConfig(mels=audio.mels, fusion=audio.fusion),
        width=shapes["text_projection.2.weight"][0],
    )


def _htsat(shapes: Shapes) -> HTSATConfig:
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


def t5(shapes: Shapes) -> T5Config:
    block = "encoder.block.0.layer"
    buckets, heads = shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"]
    vocab, width = shapes["shared.weight"]
    return T5Config(
        vocab=vocab,
        width=width,
        depth=shapes.count("encoder.block.{}."),
        heads=heads,
        head_width=shapes[f"{block}.0.SelfAttention.q.weight"][0] // heads,
        hidden=shapes[f"{block}.1.DenseReluDense.wi_0.weight"][0],
        buckets=buckets,
    )


def gpt2(shapes: Shapes, tokens: int) -> GPT2Config:
    vocab, width = shapes["wte.weight"]
    return GPT2Config(
        vocab=vocab,
        width=width,
        depth=shapes.count("h.{}."),
        heads=shapes.heads(width, 64),
        hidden=shapes["h.0.mlp.c_fc.weight"][1],
        positions=shapes["wpe.weight"][0],
        tokens=tokens,
    )


def phonemes(shapes: Shapes) -> PhonemeConfig:
    layer = "text_encoder.encoder"
    vocab, width = shapes["text_encoder.emb.weight"]
    _, distances, size = shapes[f"{layer}.attn_layers.0.emb_rel_k"]
    hidden, _, kernel = shapes[f"{layer}.ffn_layers.0.conv_1.weight"]
    return PhonemeConfig(
        vocab=vocab,
        width=width,
        depth=shapes.count(f"{layer}.attn_layers.{{}}."),
        heads=shapes.heads(width, size),
        hidden=hidden,
        kernel=kernel,
        window=(distances - 1) // 2,
    )


def projection(shapes: Shapes) -> ProjectionConfig:
    """Of the tensors under the hub's names, as `files.projection` makes them."""
    table = "learnable_positional_embedding"
    width, clap_width = shapes["projection.weight"]
    return ProjectionConfig(
        clap_width,
        shapes["projection_1.weight"][1],
        width,
        shapes[table][2] if table in shapes else 0,
    )


def audiomae(shapes: Shapes) -> AudioMAEConfig:
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    columns = AudioMAEConfig.bins // patch
    rows = (shapes["pos_embed"][1] - 1) // columns
    return AudioMAEConfig(
        frames=rows * patch,
        patch=patch,
        width=width,
        depth=shapes.count("blocks.{}."),
        heads=shapes.heads(width, 64),
        hidden=shapes["blocks.0.mlp.fc1.weight"][0],
    )
