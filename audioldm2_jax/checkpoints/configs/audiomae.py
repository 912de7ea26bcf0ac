"""timm's config.json of a ViT over filter banks."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import levels, require
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import AudioMAEConfig

_BASE = "vit_base_patch16_224"


def read_audiomae(config: dict, where: str) -> AudioMAEConfig:
    """The architecture, and `model_args` where they change it."""
    architecture = str(config.get("architecture", "")).split(".")[0]
    if architecture not in (_BASE, "vit_base_patch16_1024_128"):
        raise InputError(f"{where}: architecture is {architecture!r}; only {_BASE!r} is supported")
    args = config.get("model_args") or {}
    require(args, where, in_chans=1, qkv_bias=True, class_token=True)
    frames, bins = levels(args.get("img_size", [1024, 128]), 2, where, "img_size")
    width = args.get("embed_dim", AudioMAEConfig.width)
    return AudioMAEConfig(
        frames=frames,
        bins=bins,
        patch=args.get("patch_size", AudioMAEConfig.patch),
        width=width,
        depth=args.get("depth", AudioMAEConfig.depth),
        heads=args.get("num_heads", AudioMAEConfig.heads),
        hidden=int(width * args.get("mlp_ratio", 4)),
    )


def write_audiomae(config: AudioMAEConfig) -> dict:
    size = [config.frames, config.bins]
    return {
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
