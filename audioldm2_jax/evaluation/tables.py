"""Benchmark tables as values: one file of configs/tables/ holds one table.

A table names its rows, what each row's clips come from, the corpus, the protocol, and the published
figures with their source. `evaluation.reproduce` computes ours beside them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Formatter
from typing import TypeAlias

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.results import METRICS
from audioldm2_jax.evaluation.rules import one_of

CONDITIONS = ("text", "audio")
CORRUPTIONS = ("noise", "masking", "interference", "order")
SELECTIONS = ("all", "random", "stratified")
TEXTS = ("caption", "labels", "transcript")  # of a clip, for prompts
# Scores by listeners, which no program computes.
LISTENERS = {
    "OVL": "overall quality by listeners, 1 to 5",
    "REL": "relevance to the text by listeners, 1 to 5",
    "MOS": "mean opinion score of listeners, 1 to 5",
}
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True)
class Published:
    """A published figure. spread: its half interval; text: a direction in place of a number."""

    metric: str
    value: float | None = None
    spread: float | None = None
    text: str = ""


def published(**figures: float | str | tuple[float, float]) -> tuple[Published, ...]:
    """Published figures by metric: a number, (number, half interval), or words such as "rises"."""
    cells = []
    for metric, figure in figures.items():
        if isinstance(figure, str):
            cells.append(Published(metric, text=figure))
        elif isinstance(figure, tuple):
            cells.append(Published(metric, *figure))
        else:
            cells.append(Published(metric, float(figure)))
    return tuple(cells)


@dataclass(frozen=True)
class Corpus:
    """Clips that rows are scored against.

    name: a builder's folder in data/. split: of the prepared corpus, several as `a+b`. prompt: how
    a clip's text is made of {caption}, {labels}, {transcript}. selection: all clips of the split,
    `random` (`count` of them) or `stratified` (`count` of each label); see
    `evaluation.benchmark.selection`. train_split: what training rows read, without the selected
    clips. seconds: of a generated clip, None for as trained.
    """

    name: str
    split: str
    prompt: str = "{caption}"
    selection: str = "all"
    count: int = 0
    train_split: str = ""
    seconds: float | None = None
    note: str = ""

    def __post_init__(self):
        one_of("selection", self.selection, SELECTIONS)
        if (self.selection == "all") != (self.count == 0):
            raise InputError(f"corpus {self.name}: selection {self.selection}, count {self.count}")
        try:
            named = {name for _, name, _, _ in Formatter().parse(self.prompt) if name is not None}
        except ValueError as error:
            raise InputError(f"corpus {self.name}: prompt {self.prompt!r}: {error}") from None
        if unknown := named - {*TEXTS}:
            raise InputError(f"corpus {self.name}: prompt with {{{min(unknown)}}}, not of {TEXTS}")


@dataclass(frozen=True)
class Generation:
    """How clips are generated, as of `Pipeline.__call__`; guidance None: the model's own."""

    sampler: str | None = "ddim"
    steps: int = 200
    eta: float = 0.0
    guidance: float | None = None
    candidates: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Model:
    """Clips of a checkpoint: a published id, an official name, or a folder.

    condition: "text", or "audio" for CLAP's vector of the reference clip itself.
    """

    checkpoint: str
    condition: str = "text"
    generation: Generation = Generation()

    def __post_init__(self):
        one_of("condition", self.condition, CONDITIONS)


@dataclass(frozen=True)
class Training:
    """Clips of checkpoints along a training run.

    config: of `audioldm2-jax train`; overrides: NAME=VALUE of it; base: the checkpoint of its
    frozen parts and first weights; steps: at which the run is scored, the last one ends it.
    """

    config: str
    base: str
    steps: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    generation: Generation = Generation()

    def __post_init__(self):
        if not self.steps or list(self.steps) != sorted({*self.steps}) or self.steps[0] < 1:
            raise InputError(f"steps of a training run {self.steps}: from 1 on, rising")


@dataclass(frozen=True)
class Corrupted:
    """The corpus' own clips, a share of them corrupted (`evaluation.corruption`).

    kind: of CORRUPTIONS. shares: of corrupted clips, from 0 to 1. vocoder: the checkpoint whose
    vocoder turns mel spectrograms to sound, of clean clips too.
    """

    kind: str
    shares: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    vocoder: str = "cvssp/audioldm2"

    def __post_init__(self):
        one_of("corruption", self.kind, CORRUPTIONS)
        if not self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise InputError(f"shares of corrupted clips {self.shares}: from 0 to 1")


@dataclass(frozen=True)
class Outputs:
    """Clips of a system that we do not run: a folder of its output, `--outputs SYSTEM=FOLDER`."""

    obtain: str = ""


@dataclass(frozen=True)
class Recordings:
    """The corpus' own clips, as they are: the row of the ground truth."""


Clips: TypeAlias = Model | Training | Corrupted | Outputs | Recordings


@dataclass(frozen=True)
class Row:
    """One row. name: for `--rows` and folders. system: as the table prints it, and --outputs."""

    name: str
    system: str
    corpus: Corpus
    clips: Clips
    published: tuple[Published, ...] = ()
    note: str = ""

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise InputError(f"row {self.name!r}: small letters, digits, - and _ are expected")

    def figure(self, metric: str) -> Published | None:
        """The published figure of a metric, None without one."""
        return next((cell for cell in self.published if cell.metric == metric), None)


@dataclass(frozen=True)
class Table:
    """A table. name: its file's. source: where the published figures stand. protocol: of
    `evaluation.protocol`. columns: metric keys and LISTENERS, in the table's order.
    """

    name: str
    title: str
    source: str
    protocol: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self):
        if unknown := [c for c in self.columns if c not in METRICS and c not in LISTENERS]:
            raise InputError(f"table {self.name}: no metric {unknown[0]!r}")
        names = [row.name for row in self.rows]
        if not names or len({*names}) < len(names):
            raise InputError(f"table {self.name}: rows need different names, at least one")
        for row in self.rows:
            for cell in row.published:
                if cell.metric not in self.columns:
                    raise InputError(f"table {self.name}, row {row.name}: no column {cell.metric}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The columns that a program computes."""
        return tuple(column for column in self.columns if column in METRICS)
