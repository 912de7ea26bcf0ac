"""MusicNN: our folder, and the TensorFlow checkpoints that its package holds."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import WIDTH, Entries
from audioldm2_jax.checkpoints.convert import SAME, Kind, Layout, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.musicnn import FRAMES, MELS
from audioldm2_jax.models.musicnn import MusicNN
from audioldm2_jax.presets import MusicNNConfig

_ARCHITECTURE = "MusicNN"
# The tensor by which a checkpoint is known.
MARK = "batch_normalization.moving_mean"
_LAYER: Kind = {"kernel": ("kernel", SAME), "bias": ("bias", SAME)}
# The package convolves channels as if they were frequencies: [frames, channels, 1, channels].
_MIDDLE: Kind = {
    "kernel": ("kernel", Layout(lambda x: x[:, :, 0], lambda x: x[:, :, None])),
    "bias": ("bias", SAME),
}
_NORM: Kind = {
    "gamma": ("scale", SAME),
    "beta": ("bias", SAME),
    "moving_mean": ("mean", SAME),
    "moving_variance": ("variance", SAME),
}


def read_config(files: PartFiles) -> MusicNNConfig:
    """Our own config.json, whose entries are the fields of MusicNNConfig.

    Raises InputError for other entries.
    """
    entries = Entries(files.content, files.where)
    labels = entries.get("labels", ())
    classes = entries.integer("classes", MusicNNConfig.classes)
    if not isinstance(labels, (list, tuple)) or not all(isinstance(x, str) for x in labels):
        entries.refuse("labels", "a list of names")
    if labels and len(labels) != classes:
        raise InputError(f"{files.where}: {len(labels)} labels for {classes} classes")
    return MusicNNConfig(
        timbral=_pairs(entries, "timbral", MELS),
        temporal=_pairs(entries, "temporal", FRAMES),
        middle=entries.integer("middle", MusicNNConfig.middle),
        width=entries.integer("width", MusicNNConfig.width),
        classes=classes,
        labels=tuple(labels),
    )


def _pairs(entries: Entries, name: str, largest: int) -> tuple[tuple[int, int], ...]:
    """A list of pairs: the size of a window, at most `largest`, and channels."""
    pairs = entries.get(name, [])
    plain = isinstance(pairs, list) and 1 <= len(pairs) <= 8
    if not plain or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        entries.refuse(name, "a list of 1 to 8 pairs of size and channels")
    sizes = [entries.integer_of(size, name, 1, largest) for size, _ in pairs]
    return tuple(zip(sizes, [entries.integer_of(width, name) for _, width in pairs]))


def write_config(config: MusicNNConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {"architecture": _ARCHITECTURE} | dataclasses.asdict(config)
    for name in ("timbral", "temporal"):
        content[name] = [list(pair) for pair in content[name]]
    return PartFiles(content, kind="MusicNN")


def config_of_shapes(shapes: dict[str, tuple[int, ...]], where: str) -> MusicNNConfig:
    """The configuration of a TensorFlow checkpoint from {tensor: shape}.

    Raises InputError for another model, such as the package's `vgg`.
    """
    kernels = []
    while (shape := shapes.get(f"{_numbered('conv2d', len(kernels))}.kernel")) is not None:
        kernels.append(shape)
    hidden, classes = (shapes.get(f"{_numbered('dense', i)}.kernel", ()) for i in range(2))
    plain = len(kernels) >= 5 and all(len(s) == 4 for s in kernels)
    sizes = [n for shape in (*kernels, hidden, classes) for n in shape]
    if (
        not plain
        or (len(hidden), len(classes)) != (2, 2)
        or not 1 <= min(sizes) <= max(sizes) <= WIDTH
    ):
        raise InputError(f"{where}: not a MusicNN (MTT_musicnn and MSD_musicnn are)")
    front = [(time, bins, width) for time, bins, _, width in kernels[:-3]]
    return MusicNNConfig(
        timbral=tuple((bins, width) for _, bins, width in front if bins > 1),
        temporal=tuple((time, width) for time, bins, width in front if bins == 1),
        middle=kernels[-1][-1],
        width=hidden[1],
        classes=classes[1],
    )


def _numbered(name: str, i: int) -> str:
    """TensorFlow's name of the i-th layer of a kind."""
    return f"{name}_{i}" if i else name


def table(config: MusicNNConfig) -> Table:
    """TensorFlow's names, with dots for slashes; layers of a kind are numbered in their order."""
    front = [
        f"{kind}_{i}" for kind in ("timbral", "temporal") for i in range(len(getattr(config, kind)))
    ]
    layers = [*front, *(f"middle_{i}" for i in range(3))]
    kinds = [*[_LAYER] * len(front), *[_MIDDLE] * 3]
    rules = [
        Rule(_numbered("conv2d", i), f"{name}_conv", kind)
        for i, (name, kind) in enumerate(zip(layers, kinds))
    ]
    norms = ["norm_input", *(f"{n}_norm" for n in layers), "norm_pool", "norm_hidden"]
    rules += [Rule(_numbered("batch_normalization", i), n, _NORM) for i, n in enumerate(norms)]
    rules += [Rule("dense", "hidden", _LAYER), Rule("dense_1", "classes", _LAYER)]
    # Training's moments.
    return Table(tuple(rules), ignored=(r".*\.Adam(_1)?", r"beta[12]_power"))


PART = Part(
    name="musicnn",
    folder="musicnn",
    classes={"MusicNN": "musicnn"},
    weights=TRANSFORMERS_FILE,
    model=MusicNN,
    inputs=lambda config: (jnp.zeros((1, FRAMES, MELS)),),
    read=read_config,
    write=write_config,
    table=table,
    in_index=False,
    describes=lambda content: content.get("architecture") == _ARCHITECTURE,
)
