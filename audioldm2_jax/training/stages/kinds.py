"""What a stage says of itself: how it is planned, its settings, and what it reads of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries


@dataclass(frozen=True)
class StageKind:
    """A stage as the table `STAGES` has it; configurations, checks and docs follow from it.

    make: (model, optim, settings, dtype) -> Plan; settings: all that it obeys, with defaults;
    config: its file in configs/; trains, needs, reads: in words, for the docs; latents: it trains
    on the VAE's latents; texts: a tokenizer's tokens are read; average: it keeps averages of the
    weights; samples: it makes sound of "prompts", or restores "clips"; begins: it can begin with a
    start's weights; remat: gradients may be computed anew; labels: it learns the corpora's labels;
    grid: its clips are as long as the VAE's grid takes.
    """

    make: Callable
    settings: Mapping[str, Any]
    config: str
    trains: str = ""
    needs: str = "nothing"
    reads: str = "sound"
    latents: bool = False
    texts: bool = False
    average: bool = False
    samples: str = ""
    begins: bool = True
    remat: bool = True
    labels: bool = False
    grid: bool = True


@dataclass(frozen=True)
class Setting:
    """Bounds and choices of a setting, by its name; needs: a setting without which it is idle."""

    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    needs: tuple[str, Callable[[Any], bool]] | None = field(default=None)


def _on(name: str) -> tuple[str, Callable[[Any], bool]]:
    return name, bool


_SHARE, _POSITIVE, _COUNT = Setting(0, 1), Setting(0), Setting(1)
BOUNDS: dict[str, Setting] = {
    "share": Setting(0.01, 0.99),
    "decoder_width": _COUNT,
    "decoder_depth": _COUNT,
    "decoder_heads": _COUNT,
    "momentum": _SHARE,
    "longest": Setting(1e-3),
    "divergence": _POSITIVE,
    "adversarial": _POSITIVE,
    "start": Setting(0, needs=_on("adversarial")),
    "patch_width": Setting(1, needs=_on("adversarial")),
    "perceptual": _POSITIVE,
    "perceptual_weights": Setting(needs=_on("perceptual")),
    "segment": _COUNT,
    "mel": _POSITIVE,
    "spectra": _POSITIVE,
    "small": Setting(needs=_on("adversarial")),
    "pooling": _COUNT,
    "poolings": _COUNT,
    "error": Setting(choices=("l1", "mse")),
    "free": _POSITIVE,
    "audio": _SHARE,
    "hide": Setting(),  # the stage says its bounds
    "drop": _SHARE,
    "truth": _SHARE,
    "snr_gamma": _POSITIVE,
    "channels": _COUNT,
    "width": _COUNT,
}
# Gradients of the roll-out, where there is one.
THROUGH = {
    "joint": ("truth", lambda truth: truth < 1),
    "sequence": ("free", bool),
}


def fields_of(kind: type, *names: str, **changed: Any) -> dict[str, Any]:
    """Defaults of these fields of a stage's dataclass; `changed` ones in their place or besides."""
    known = {f.name: f.default for f in dataclasses.fields(kind)}
    return {name: known[name] for name in names} | changed


def check_settings(stage: str, kind: StageKind, given: Mapping[str, Any]) -> None:
    """Raises InputError for an unknown setting, or a value of another type or out of bounds."""
    for name, value in given.items():
        full = f"settings.{name}"
        if name not in kind.settings:
            near = entries.suggestion(name, kind.settings) or f"; it has {' '.join(kind.settings)}"
            raise InputError(f"{full}: stage {stage} has no such setting{near}")
        _check_value(full, value, kind.settings[name], BOUNDS.get(name, Setting()))


def idle_settings(stage: str, kind: StageKind, given: Mapping[str, Any]) -> dict[str, str]:
    """{setting: why it has no effect} beside the others that are given."""
    found = {}
    for name in given:
        needs = THROUGH[stage] if name == "through" else BOUNDS.get(name, Setting()).needs
        if needs and not needs[1](current := given.get(needs[0], kind.settings[needs[0]])):
            found[f"settings.{name}"] = f"settings.{needs[0]} is {current}"
    return found


def _check_value(name: str, value: Any, default: Any, bounds: Setting) -> None:
    if not isinstance(default, tuple):
        entry = entries.Entry(default, "", bounds.least, bounds.most, bounds.choices)
        entries.check_value(name, value, entry)
        return
    if not isinstance(value, (tuple, list)) or not value:
        raise InputError(f"{name} is {value!r}: integers, separated by commas, are expected")
    for one in value:
        entries.check_value(name, one, entries.Entry(1, "", bounds.least, bounds.most))
