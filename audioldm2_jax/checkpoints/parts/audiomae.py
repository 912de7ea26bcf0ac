"""AudioMAE's encoder, whose features the LOA is trained on: timm's ViT over filter banks."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import DEPTH, Entries, levels, require
from audioldm2_jax.checkpoints.convert import CONV2D, LINEAR, NORM, PLAIN, Rule, Table
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
)
from audioldm2_jax.checkpoints.parts.blocks import qkv
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.audiomae import AudioMAE
from audioldm2_jax.presets import AudioMAEConfig

_BASE = "vit_base_patch16_224"


def read_config(files: PartFiles) -> AudioMAEConfig:
    """timm's config.json: the architecture, and the `model_args` that change it.

    Raises InputError.
    """
    content, where = files.content, files.where
    architecture = str(content.get("architecture", "")).split(".")[0]
    if architecture not in (_BASE, "vit_base_patch16_1024_128"):
        raise InputError(
            f"{where}: architecture is {architecture!r:.80}; only {_BASE!r} is supported"
        )
    args = Entries(content.get("model_args") or {}, f"{where}: model_args")
    require(args.content, where, in_chans=1, qkv_bias=True, class_token=True)
    sizes = args.integers("img_size", (1024, 128), count=2, high=1 << 14)
    frames, bins = levels(sizes if len(sizes) > 1 else sizes[0], 2, where, "img_size")
    patch = args.integer("patch_size", AudioMAEConfig.patch, high=1024)
    if frames % patch or bins % patch:
        args.refuse("patch_size", f"a divisor of img_size {[frames, bins]}")
    width = args.integer("embed_dim", AudioMAEConfig.width)
    heads = args.integer("num_heads", AudioMAEConfig.heads, high=1024)
    if width % heads:
        args.refuse("num_heads", "a divisor of embed_dim")
    return AudioMAEConfig(
        frames=frames,
        bins=bins,
        patch=patch,
        width=width,
        depth=args.integer("depth", AudioMAEConfig.depth, high=DEPTH),
        heads=heads,
        hidden=max(1, int(width * args.number("mlp_ratio", 4, 0.001, 64))),
    )


def write_config(config: AudioMAEConfig) -> PartFiles:
    """The inverse of `read_config`."""
    size = [config.frames, config.bins]
    content = {
        "architecture": _BASE,
        "num_classes": 0,
        "num_features": config.width,
        "global_pool": "token",
        "model_args": {
            "img_size": size,
            "in_chans": 1,
            "patch_size": config.patch,
            "embed_dim": config.width,
            "depth": config.depth,
            "num_heads": config.heads,
            "mlp_ratio": config.hidden / config.width,
            "num_classes": 0,
            "global_pool": "token",
        },
        "pretrained_cfg": {"input_size": [1, *size], "num_classes": 0},
    }
    return PartFiles(content, kind="VisionTransformer")


# timm's VisionTransformer and the authors' MaskedAutoencoderViT have the same encoder names.
TABLE = Table(
    rules=(
        Rule("cls_token", "class_token", PLAIN),
        Rule("pos_embed", "positions", PLAIN),
        Rule("patch_embed.proj", "patch", CONV2D),
        Rule("blocks.{}.norm1", "blocks_{}/norm_attention", NORM),
        Rule("blocks.{}.attn.qkv", qkv("blocks_{}/attention"), LINEAR),
        Rule("blocks.{}.attn.proj", "blocks_{}/attention/out", LINEAR),
        Rule("blocks.{}.norm2", "blocks_{}/norm_mlp", NORM),
        Rule("blocks.{}.mlp.fc1", "blocks_{}/mlp/up", LINEAR),
        Rule("blocks.{}.mlp.fc2", "blocks_{}/mlp/down", LINEAR),
        Rule("norm", "norm", NORM),
    ),
    # timm names the final norm so if it pools before the norm.
    renames=((r"^fc_norm\.", "norm."),),
    # The decoder of the pre-training, and a classifier's head.
    ignored=(r"decoder_.*", r"mask_token", r"head\..*", r"log_softmax\..*"),
)


def read_shapes(shapes: Shapes) -> AudioMAEConfig:
    """The configuration of an authors' file."""
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


PART = Part(
    name="audiomae",
    folder="audiomae",
    classes={"VisionTransformer": "timm"},
    weights=TRANSFORMERS_FILE,
    model=AudioMAE,
    inputs=lambda config: (jnp.zeros((1, config.frames, config.bins)),),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    # No published pipeline has this part, so the index does not list it.
    in_index=False,
    describes=lambda content: "architecture" in content,
    authors=AuthorsPart(
        mark="cls_token",
        partner="patch_embed.proj.weight",
        table=lambda config: TABLE,
        read_shapes=read_shapes,
    ),
)
