"""VGGish: our folder, and the file that torchvggish publishes."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import WIDTH, Entries
from audioldm2_jax.checkpoints.convert import CONV2D, LINEAR, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.vggish import FRAMES, MELS
from audioldm2_jax.models.vggish import VGGish
from audioldm2_jax.presets import VGGishConfig

_ARCHITECTURE = "VGGish"
# The tensor by which a published file is known.
MARK = "embeddings.0.weight"


def read_config(files: PartFiles) -> VGGishConfig:
    """Our own config.json, whose entries are the fields of VGGishConfig.

    Raises InputError for other entries.
    """
    entries = Entries(files.content, files.where)
    stages = entries.get("stages", [])
    if not isinstance(stages, list) or not 1 <= len(stages) <= 5:
        entries.refuse("stages", "a list of 1 to 5 lists of widths")
    rows = Entries({str(i): stage for i, stage in enumerate(stages)}, f"{files.where}: stages")
    return VGGishConfig(
        stages=tuple(rows.integers(str(i), count=16) for i in range(len(stages))),
        hidden=entries.integers("hidden", VGGishConfig.hidden, count=16),
        width=entries.integer("width", VGGishConfig.width),
    )


def write_config(config: VGGishConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = dataclasses.asdict(config) | {"stages": [list(stage) for stage in config.stages]}
    return PartFiles({"architecture": _ARCHITECTURE} | content, kind="VGGish")


def config_of_shapes(shapes: dict[str, tuple[int, ...]], where: str) -> VGGishConfig:
    """The configuration of a published file from {tensor: shape}. Raises InputError for others.

    Numbers of layers in `features` count convolutions, ReLUs and poolings.
    """
    stages: list[list[int]] = []
    index = 0
    while (shape := shapes.get(f"features.{index}.weight")) is not None:
        if len(shape) != 4:
            raise InputError(f"{where}: features.{index}.weight is {shape}, no convolution")
        # A convolution and its ReLU; where the next number lacks, a pooling.
        stages = [*stages[:-1], [*(stages[-1] if stages else []), shape[0]]]
        index += 2
        if f"features.{index}.weight" not in shapes:
            index, stages = index + 1, [*stages, []]
    linear = []
    while (shape := shapes.get(f"embeddings.{2 * len(linear)}.weight")) is not None:
        if len(shape) != 2:
            raise InputError(f"{where}: embeddings.{2 * len(linear)}.weight is {shape}, no matrix")
        linear.append(shape[0])
    widths = tuple(tuple(stage) for stage in stages if stage)
    if not widths or not linear or not all(1 <= n <= WIDTH for n in (*sum(widths, ()), *linear)):
        raise InputError(f"{where}: not a VGGish of torchvggish")
    return VGGishConfig(stages=widths, hidden=tuple(linear[:-1]), width=linear[-1])


def table(config: VGGishConfig) -> Table:
    """Names as torchvggish published them."""
    rules, index = [], 0
    for i, stage in enumerate(config.stages):
        for j in range(len(stage)):
            rules.append(Rule(f"features.{index}", f"stages_{i}_conv_{j}", CONV2D))
            index += 2
        index += 1
    names = [*(f"hidden_{i}" for i in range(len(config.hidden))), "embed"]
    rules += [Rule(f"embeddings.{2 * i}", name, LINEAR) for i, name in enumerate(names)]
    # The quantiser behind the embeddings, where a file holds it too.
    return Table(tuple(rules), ignored=(r"pproc\..*", r"pca_.*"))


PART = Part(
    name="vggish",
    folder="vggish",
    classes={"VGGish": "vggish"},
    weights=TRANSFORMERS_FILE,
    model=VGGish,
    inputs=lambda config: (jnp.zeros((1, FRAMES, MELS)),),
    read=read_config,
    write=write_config,
    table=table,
    in_index=False,
    describes=lambda content: content.get("architecture") == _ARCHITECTURE,
)
