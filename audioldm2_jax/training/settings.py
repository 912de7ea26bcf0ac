"""Settings of a stage: fields of its dataclass, with their defaults, bounds and dependencies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training import entries


@dataclass(frozen=True)
class Bounds:
    """Allowed values of a setting, inclusive.

    least, most: of numbers, or of each number of a tuple; choices: of texts; needs: another setting
    and a test of its value, without which this one has no effect.
    """

    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    needs: tuple[str, Callable[[Any], bool]] | None = None


def setting(default: Any, least: float | None = None, most: float | None = None, **bounds) -> Any:
    """A dataclass field that a configuration sets as `settings.NAME`."""
    return dataclasses.field(default=default, metadata={"bounds": Bounds(least, most, **bounds)})


@dataclass(frozen=True)
class StageSettings:
    """What every run gives its stage; each stage's subclass adds its own settings.

    model: configuration of the base checkpoint; dtype: of the computation; remat: see
    `layers.maybe_remat`; seconds: length of a clip; text_length: tokens of a text at most; classes:
    labels of the corpora.
    """

    model: ModelConfig
    _: dataclasses.KW_ONLY
    dtype: Any = jnp.float32
    remat: str = "none"
    seconds: float = entries.ENTRIES["data.seconds"].default
    text_length: int = entries.ENTRIES["data.text_length"].default
    classes: tuple[str, ...] = ()


def bounds_of(kind: type[StageSettings]) -> dict[str, Bounds]:
    """{setting: its bounds} of a stage's dataclass."""
    fields = dataclasses.fields(kind)
    return {f.name: f.metadata["bounds"] for f in fields if "bounds" in f.metadata}


def defaults_of(kind: type[StageSettings]) -> dict[str, Any]:
    """{setting: its default} of a stage's dataclass."""
    return {f.name: f.default for f in dataclasses.fields(kind) if "bounds" in f.metadata}


def check_settings(stage: str, kind: type[StageSettings], values: Mapping[str, Any]) -> None:
    """Raises InputError for an unknown setting, or a value of another type or out of bounds."""
    known, bounds = defaults_of(kind), bounds_of(kind)
    for name, value in values.items():
        full = f"settings.{name}"
        if name not in known:
            near = entries.suggestion(name, known) or f"; it has {' '.join(known)}"
            raise InputError(f"{full}: stage {stage} has no such setting{near}")
        _check_value(full, value, known[name], bounds[name])


def idle_settings(kind: type[StageSettings], values: Mapping[str, Any]) -> dict[str, str]:
    """{settings.NAME: why it has no effect} of settings whose condition the others do not meet."""
    reasons, known = {}, defaults_of(kind)
    for name, bounds in bounds_of(kind).items():
        if bounds.needs is None or name not in values:
            continue
        other, is_met = bounds.needs
        if not is_met(current := values.get(other, known[other])):
            reasons[f"settings.{name}"] = f"settings.{other} is {current}"
    return reasons


def _check_value(name: str, value: Any, default: Any, bounds: Bounds) -> None:
    if not isinstance(default, tuple):
        entry = entries.Entry(default, "", bounds.least, bounds.most, bounds.choices)
        entries.check_value(name, value, entry)
        return
    if not isinstance(value, (tuple, list)) or not value:
        raise InputError(f"{name} is {value!r}: integers, separated by commas, are expected")
    for one in value:
        entries.check_value(name, one, entries.Entry(1, "", bounds.least, bounds.most))
