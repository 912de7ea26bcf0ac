"""config.json of a tagger's folder, and the configuration of PANNs' published file."""

from __future__ import annotations

import dataclasses

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import TaggerConfig

ARCHITECTURE = "PANNs"


def read_tagger(config: dict, where: str) -> TaggerConfig:
    """Every field of TaggerConfig is in the file. Raises InputError for others, or none."""
    values = {k: v for k, v in config.items() if k != "architecture"}
    values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    try:
        return TaggerConfig(**values)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from None


def write_tagger(config: TaggerConfig) -> dict:
    return {"architecture": ARCHITECTURE} | dataclasses.asdict(config)


def tagger_of_shapes(shapes: dict[str, tuple[int, ...]], where: str) -> TaggerConfig:
    """From the shapes of a published file's tensors; its front end is that of `Cnn14_16k`."""
    try:
        count = sum(name.endswith(".conv1.weight") for name in shapes)
        channels = tuple(shapes[f"conv_block{i + 1}.conv1.weight"][0] for i in range(count))
        classes, width = shapes["fc_audioset.weight"]
    except (KeyError, ValueError):
        raise InputError(f"{where}: not a Cnn14 of PANNs") from None
    return TaggerConfig(channels=channels, width=width, classes=classes)
