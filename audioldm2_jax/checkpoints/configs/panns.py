"""config.json of a PANNs' folder, and the configuration of PANNs' published file."""

from __future__ import annotations

import dataclasses

from audioldm2_jax.checkpoints.configs.reading import WIDTH, Entries
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PANNsConfig

ARCHITECTURE = "PANNs"


def read_panns(config: dict, where: str) -> PANNsConfig:
    """Every field of PANNsConfig may be in the file. Raises InputError for others."""
    entries, default = Entries(config, where), PANNsConfig()
    known = {field.name for field in dataclasses.fields(PANNsConfig)}
    if unknown := sorted(set(config) - known - {"architecture"}):
        raise InputError(f"{where}: {unknown[0]!r:.80} is no entry of a PANNs configuration")
    labels = entries.get("labels", ())
    classes = entries.whole("classes", default.classes)
    if not isinstance(labels, (list, tuple)) or not all(isinstance(x, str) for x in labels):
        entries.refuse("labels", "a list of names")
    if labels and len(labels) != classes:
        raise InputError(f"{where}: {len(labels)} labels for {classes} classes")
    sample_rate = entries.whole("sample_rate", default.sample_rate, high=768_000)
    low = entries.number("low", default.low, high=sample_rate / 2)
    return PANNsConfig(
        sample_rate=sample_rate,
        fft=entries.whole("fft", default.fft, 2, 1 << 16),
        hop=entries.whole("hop", default.hop, high=1 << 16),
        mels=entries.whole("mels", default.mels, high=1024),
        low=low,
        high=entries.number("high", default.high, low, sample_rate / 2),
        channels=entries.wholes("channels", default.channels, count=16),
        width=entries.whole("width", default.width),
        classes=classes,
        labels=tuple(labels),
    )


def write_panns(config: PANNsConfig) -> dict:
    return {"architecture": ARCHITECTURE} | dataclasses.asdict(config)


def panns_of_shapes(shapes: dict[str, tuple[int, ...]], where: str) -> PANNsConfig:
    """From the shapes of a published file's tensors; its front end is that of `Cnn14_16k`."""
    count = sum(name.endswith(".conv1.weight") for name in shapes)
    firsts = [shapes.get(f"conv_block{i + 1}.conv1.weight", ()) for i in range(min(count, 17))]
    last = shapes.get("fc_audioset.weight", ())
    plain = len(last) == 2 and 0 < len(firsts) <= 16 and all(len(s) == 4 for s in firsts)
    sizes = (*last, *(shape[0] for shape in firsts)) if plain else (0,)
    if not plain or not all(1 <= size <= WIDTH for size in sizes):
        raise InputError(f"{where}: not a Cnn14 of PANNs")
    channels = tuple(shape[0] for shape in firsts)
    return PANNsConfig(channels=channels, width=last[1], classes=last[0])
