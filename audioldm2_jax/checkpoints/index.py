"""model_index.json: the family of a checkpoint, and the class of each of its parts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints import sectioned
from audioldm2_jax.checkpoints.families import FAMILIES, Family
from audioldm2_jax.checkpoints.parts import PARTS, Part
from audioldm2_jax.checkpoints.parts.base import named_classes
from audioldm2_jax.errors import InputError


def read_index(folder: Path) -> tuple[Family, dict[str, str]]:
    """(family, {part: its class}) of a checkpoint in the hub layout.

    Raises InputError for a folder that is none, or that holds what no part here computes.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    path = folder / "model_index.json"
    if not path.is_file():
        raise InputError(f"{folder}: {_without_index(folder)}")
    index = read_json(path)
    name, pipelines = index.get("_class_name", "AudioLDM2Pipeline"), _pipelines()
    if not isinstance(name, str) or name not in pipelines:
        raise InputError(f"{path}: pipeline {name!r:.80} is not known: {' '.join(pipelines)}")
    family = pipelines[name]
    entries = {
        k: v for k, v in index.items() if not k.startswith("_") and v not in (None, [None] * 2)
    }
    if extra := sorted(set(entries) - _components(family)):
        raise InputError(f"{path}: unknown part {extra[0]!r:.80}")
    classes = {}
    for names, required in family.slots:
        parts = [PARTS[name] for name in names if PARTS[name].in_index]
        folders = {part.folder for part in parts}
        for component in [c for c in folders if required or c in entries]:
            classes |= _part_entry(path, component, entries.get(component), parts)
        specs = [part.tokenizer for part in parts if part.tokenizer]
        for component in {spec.folder for spec in specs if required or spec.folder in entries}:
            kinds = tuple(kind for spec in specs for kind in spec.kinds)
            _check_tokenizer(path, component, entries.get(component), kinds)
    return family, classes


def _without_index(folder: Path) -> str:
    """Why a folder without model_index.json is not read."""
    path = folder / "config.json"
    kinds = [k for k in named_classes(read_json(path)) if k] if path.is_file() else []
    known = [family.pipeline for family in FAMILIES.values() if family.sections]
    if kinds:
        return f"a {kinds[0]!r:.80}, which is not read here; {' '.join(known)} is"
    return "no model_index.json, so no checkpoint in the hub layout"


def component_folder(folder: Path, name: str) -> Path:
    """The folder of a part or a tokenizer: the checkpoint's own, or that of a checkpoint beside it.

    `_shared_with` in model_index.json names the other checkpoint; nano-speech shares with nano. Of
    a checkpoint without sub-folders it is the checkpoint's.
    """
    own, path = folder / name, folder / "model_index.json"
    if sectioned.family_of(folder):
        return folder
    if own.exists() or not path.is_file():
        return own
    other = files.read_json(path).get("_shared_with")
    if not isinstance(other, str) or not re.fullmatch(r"\w[\w-]*", other):
        return own
    shared = folder.parent / other / name
    return shared if shared.is_dir() else own


def _pipelines() -> dict[str, Family]:
    return {family.pipeline: family for family in FAMILIES.values() if not family.sections}


def _components(family: Family) -> set[str]:
    """What a family's model_index.json may list."""
    components = {"scheduler"} if family.scheduler else set()
    for part in (PARTS[name] for names, _ in family.slots for name in names):
        if part.in_index:
            components |= {part.folder, *part.components}
            components |= {part.tokenizer.folder} if part.tokenizer else set()
    return components


def component_class(entry) -> str | None:
    """The class of an entry [library, class]; None if it is no such entry."""
    kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    return kind if isinstance(kind, str) else None


def _part_entry(path: Path, component: str, entry, parts: list[Part]) -> dict[str, str]:
    """{part: class} of one folder."""
    kind = component_class(entry)
    choices = {name: part for part in parts for name in part.classes}
    if kind not in choices:
        raise InputError(
            f"{path}: {component} is of class {kind!r:.80}; known: {' or '.join(choices)}"
        )
    return {choices[kind].name: kind}


def _check_tokenizer(path: Path, component: str, entry, kinds: tuple[str, ...]) -> None:
    kind = component_class(entry)
    if not any(word in str(kind) for word in kinds):
        raise InputError(
            f"{path}: {component} is of class {kind!r:.80}; a {' or '.join(kinds)} one is needed"
        )


def read_json(path: Path) -> dict:
    """A JSON object. Raises InputError if the file is missing or holds none."""
    if not os.path.exists(path):
        raise InputError(f"{path}: missing; the checkpoint is incomplete")
    return files.read_json(path)


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON object as the hub's libraries do. Raises InputError."""
    files.write_json(path, content, indent=2, sort_keys=True)
