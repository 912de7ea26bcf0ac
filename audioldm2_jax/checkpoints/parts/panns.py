"""PANNs' Cnn14, a classifier of sounds: our folder, and the authors' published file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints.config_entries import WIDTH, Entries
from audioldm2_jax.checkpoints.convert import BATCH_NORM, CONV2D, LINEAR, Kind, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel_scale import slaney_filters
from audioldm2_jax.features.stft import hann
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import PANNsConfig

_ARCHITECTURE = "PANNs"
# The tensor by which a published file is known.
MARK = "fc_audioset.weight"


def read_config(files: PartFiles) -> PANNsConfig:
    """Our own config.json, whose entries are the fields of PANNsConfig.

    Raises InputError for other entries.
    """
    entries, default = Entries(files.content, files.where), PANNsConfig()
    known = {field.name for field in dataclasses.fields(PANNsConfig)}
    if unknown := sorted(set(files.content) - known - {"architecture"}):
        raise InputError(f"{files.where}: {unknown[0]!r:.80} is no entry of a PANNs configuration")
    labels = entries.get("labels", ())
    classes = entries.integer("classes", default.classes)
    if not isinstance(labels, (list, tuple)) or not all(isinstance(x, str) for x in labels):
        entries.refuse("labels", "a list of names")
    if labels and len(labels) != classes:
        raise InputError(f"{files.where}: {len(labels)} labels for {classes} classes")
    sample_rate = entries.integer("sample_rate", default.sample_rate, high=768_000)
    low = entries.number("low", default.low, high=sample_rate / 2)
    return PANNsConfig(
        sample_rate=sample_rate,
        fft=entries.integer("fft", default.fft, 2, 1 << 16),
        hop=entries.integer("hop", default.hop, high=1 << 16),
        mels=entries.integer("mels", default.mels, high=1024),
        low=low,
        high=entries.number("high", default.high, low, sample_rate / 2),
        channels=entries.integers("channels", default.channels, count=16),
        width=entries.integer("width", default.width),
        classes=classes,
        labels=tuple(labels),
    )


def write_config(config: PANNsConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {"architecture": _ARCHITECTURE} | dataclasses.asdict(config)
    return PartFiles(content, kind="Cnn14")


# Front ends of published files by the size of their Fourier transform; Cnn14_8k has 256.
_FRONT_ENDS = {
    256: PANNsConfig(sample_rate=8000, fft=256, hop=80, high=4000.0),
    512: PANNsConfig(),
    1024: PANNsConfig(sample_rate=32000, fft=1024, hop=320, high=14000.0),
}
_REAL, _IMAGINARY = (f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))
_FILTERS = "logmel_extractor.melW"


def config_of_shapes(shapes: dict[str, tuple[int, ...]], where: str) -> PANNsConfig:
    """The configuration of a published file from {tensor: shape}.

    The size of its Fourier transform tells the front end; a file without one has that of
    `Cnn14_16k`. Raises InputError for another model.
    """
    count = sum(name.endswith(".conv1.weight") for name in shapes)
    firsts = [shapes.get(f"conv_block{i + 1}.conv1.weight", ()) for i in range(min(count, 17))]
    last = shapes.get(MARK, ())
    plain = len(last) == 2 and 0 < len(firsts) <= 16 and all(len(s) == 4 for s in firsts)
    sizes = (*last, *(shape[0] for shape in firsts)) if plain else (0,)
    if not plain or not all(1 <= size <= WIDTH for size in sizes):
        raise InputError(f"{where}: not a Cnn14 of PANNs")
    fft = shapes.get(_REAL, (257, 1, 512))[-1:]
    if fft not in ((size,) for size in _FRONT_ENDS):
        sizes = ", ".join(map(str, _FRONT_ENDS))
        raise InputError(f"{where}: {_REAL} is {shapes[_REAL]}; published files have {sizes} taps")
    channels = tuple(shape[0] for shape in firsts)
    front_end = _FRONT_ENDS[fft[0]]
    return dataclasses.replace(front_end, channels=channels, width=last[1], classes=last[0])


def check_front_end(source: Mapping, config: PANNsConfig, where: str) -> PANNsConfig:
    """The configuration whose front end is the file's own, of which it holds the constants.

    The file's filters win over what its name promises: PANNs at 32 kHz reach to 14 or 16 kHz.
    Raises InputError for windows or filters that none of the known front ends has.
    """
    c = config
    if _REAL in source and _IMAGINARY in source:
        phase = 2 * np.pi * np.outer(np.arange(c.fft // 2 + 1), np.arange(c.fft)) / c.fft
        for name, wave in ((_REAL, np.cos(phase)), (_IMAGINARY, -np.sin(phase))):
            if not _close(source[name], (wave * hann(c.fft))[:, None], 1e-3):
                raise InputError(f"{where}: {name} is not the Fourier transform of Hann windows")
    if _FILTERS not in source:
        return config
    for high in (c.high, c.sample_rate / 2):
        filters = slaney_filters(c.sample_rate, c.fft, c.mels, c.low, high).T
        if _close(source[_FILTERS], filters, 1e-3 * float(filters.max())):
            return dataclasses.replace(config, high=high)
    raise InputError(
        f"{where}: {_FILTERS} are not Slaney's {c.mels} filters from {c.low:g} to {c.high:g} Hz; "
        "its features would not be those of its training"
    )


def _close(ours: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return ours.shape == expected.shape and bool(np.allclose(ours, expected, 0, tolerance))


# Our convolutions are bare kernels.
_KERNEL: Kind = {"weight": ("", CONV2D["weight"][1])}


def table(config: PANNsConfig) -> Table:
    """Names as PANNs' authors published them, for the configuration's number of blocks."""
    rules = [Rule("bn0", "norm_mel", BATCH_NORM)]
    for i in range(len(config.channels)):
        for j in range(2):
            source = f"conv_block{i + 1}"
            rules.append(Rule(f"{source}.conv{j + 1}", f"blocks_{i}_conv_{j}", _KERNEL))
            rules.append(Rule(f"{source}.bn{j + 1}", f"blocks_{i}_norm_{j}", BATCH_NORM))
    rules += [Rule("fc1", "embed", LINEAR), Rule("fc_audioset", "classes", LINEAR)]
    # Constants of the front end, which `check_front_end` compares, and counters.
    ignored = (r"spectrogram_extractor\..*", r"logmel_extractor\..*", r".*num_batches_tracked")
    return Table(tuple(rules), ignored=ignored)


PART = Part(
    name="panns",
    folder="panns",
    classes={"Cnn14": "panns"},
    weights=TRANSFORMERS_FILE,
    model=Cnn14,
    inputs=lambda config: (jnp.zeros((1, 2 ** len(config.channels), config.mels)),),
    read=read_config,
    write=write_config,
    table=table,
    in_index=False,
    describes=lambda content: content.get("architecture") == _ARCHITECTURE,
)
