"""What `accelerator.py` measures, ordered by worth; nothing here imports JAX."""

from __future__ import annotations

from typing import NamedTuple

# How both sides are run: theirs as diffusers comes, or with its U-Net through torch.compile.
EAGER, COMPILED = "diffusers", "torch.compile"
LARGEST = 0


class Row(NamedTuple):
    """model: its preset; kind: sampling, start or training; clips: in a batch, LARGEST: as many as
    fit; peer: EAGER, COMPILED, or "" for us alone.
    """

    model: str
    dtype: str
    kind: str
    part: str
    clips: int
    peer: str = ""

    @property
    def name(self) -> str:
        """Of the row in the JSON."""
        clips = "largest" if self.clips == LARGEST else self.clips
        peer = f" {self.peer}" if self.peer else ""
        return f"{self.model} {self.dtype} {self.kind}: {self.part} @{clips}{peer}"


class Size(NamedTuple):
    """presets: by model of a row; seconds: of a clip; most: clips of the largest batch tried;
    repeats: samples of a row; least: seconds of a sample.
    """

    presets: dict[str, str]
    seconds: float
    steps: int
    most: int
    repeats: int
    least: float


SIZES = {
    "full": Size({"base": "base", "large": "large"}, 10.24, 25, 256, 5, 0.3),
    "tiny": Size({"base": "tiny", "large": "tiny"}, 0.64, 2, 2, 2, 0.0),
}


def _chapter(model: str, dtype: str, kind: str, *rows: tuple) -> tuple[Row, ...]:
    return tuple(Row(model, dtype, kind, *row) for row in rows)


# Each chapter is measured in a process of its own, so that its peak of memory is its own.
PLAN = (
    _chapter(
        "base",
        "bf16",
        "sampling",
        ("clip", 1, EAGER),
        ("U-Net step", 1, EAGER),
        ("U-Net step", 8, EAGER),
        ("clip", 8, EAGER),
        ("VAE decode", 1, EAGER),
        ("vocoder", 1, EAGER),
        ("text encoders + LOA", 1, EAGER),
    ),
    _chapter("base", "bf16", "start", ("clip", 1)),
    _chapter(
        "base", "bf16", "training", ("pretrain", 16, EAGER), ("pretrain", 64), ("joint", 16, EAGER)
    ),
    _chapter("base", "bf16", "sampling", ("U-Net step", 1, COMPILED), ("clip", 1, COMPILED)),
    _chapter("base", "bf16", "sampling", ("clip", 16, EAGER), ("clip", LARGEST)),
    _chapter(
        "large", "bf16", "sampling", ("clip", 1, EAGER), ("U-Net step", 1, EAGER), ("clip", 8)
    ),
    _chapter("large", "bf16", "training", ("pretrain", 16, EAGER)),
    _chapter("base", "fp32", "sampling", ("U-Net step", 1, EAGER), ("clip", 1, EAGER)),
)
