"""timm's config.json of a ViT over filter banks."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import DEPTH, Entries, levels, require
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import AudioMAEConfig

_BASE = "vit_base_patch16_224"


def read_audiomae(config: dict, where: str) -> AudioMAEConfig:
    """The architecture, and `model_args` where they change it."""
    architecture = str(config.get("architecture", "")).split(".")[0]
    if architecture not in (_BASE, "vit_base_patch16_1024_128"):
        raise InputError(
            f"{where}: architecture is {architecture!r:.80}; only {_BASE!r} is supported"
        )
    args = Entries(config.get("model_args") or {}, f"{where}: model_args")
    require(args.content, where, in_chans=1, qkv_bias=True, class_token=True)
    sizes = args.wholes("img_size", (1024, 128), count=2, high=1 << 14)
    frames, bins = levels(sizes if len(sizes) > 1 else sizes[0], 2, where, "img_size")
    patch = args.whole("patch_size", AudioMAEConfig.patch, high=1024)
    if frames % patch or bins % patch:
        args.refuse("patch_size", f"a divisor of img_size {[frames, bins]}")
    width = args.whole("embed_dim", AudioMAEConfig.width)
    heads = args.whole("num_heads", AudioMAEConfig.heads, high=1024)
    if width % heads:
        args.refuse("num_heads", "a divisor of embed_dim")
    return AudioMAEConfig(
        frames=frames,
        bins=bins,
        patch=patch,
        width=width,
        depth=args.whole("depth", AudioMAEConfig.depth, high=DEPTH),
        heads=heads,
        hidden=max(1, int(width * args.number("mlp_ratio", 4, 0.001, 64))),
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
