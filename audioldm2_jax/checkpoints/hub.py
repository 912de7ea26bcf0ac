"""The public hub layout, read and written: model_index.json and one folder per part.

Checkpoints that transformers saves in one folder are read and written too (`sectioned`).
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from audioldm2_jax import files
from audioldm2_jax.checkpoints import sectioned, weights
from audioldm2_jax.checkpoints.config_entries import DIFFUSERS_VERSION
from audioldm2_jax.checkpoints.convert import cast_to, from_params, known_to, to_params
from audioldm2_jax.checkpoints.families import FAMILIES, Family
from audioldm2_jax.checkpoints.index import (
    component_class,
    component_folder,
    read_index,
    read_json,
    write_json,
)
from audioldm2_jax.checkpoints.parts import PARTS, Part, PartFiles, parts_of
from audioldm2_jax.checkpoints.scheduler import read_schedule, scheduler_class, write_schedule
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import CONVENTIONS, Convention, ModelConfig, ScheduleConfig


@dataclass
class Checkpoint:
    """A loaded model.

    params: {part: parameter tree}; tokenizers: {folder in the hub layout: tokenizer}; source: where
    it was read from.
    """

    config: ModelConfig
    params: dict[str, dict]
    tokenizers: dict[str, Any]
    convention: Convention
    source: str


def convention_named(name: str) -> Convention:
    """The convention of a name. Raises InputError for an unknown one."""
    if not isinstance(name, str) or name not in CONVENTIONS:
        raise InputError(f"unknown convention {name!r}: choose one of {' '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


@dataclass(frozen=True)
class Description:
    """What the files of a checkpoint say, before a convention interprets them.

    files: {part: the JSON files that describe it}; config: exactly as written in them.
    """

    family: Family
    files: dict[str, PartFiles]
    config: Any

    def under(self, convention: Convention):
        """The model's configuration under a convention, its family's quirks mended.

        Raises InputError for values that the convention makes impossible.
        """
        changes = {
            name: PARTS[name].interpret(getattr(self.config, name), files, convention)
            for name, files in self.files.items()
        }
        return self.family.mended(dataclasses.replace(self.config, **changes))


def describe(folder: Path) -> Description:
    """Reads all configurations. Raises InputError for a folder that is no known checkpoint."""
    if family := sectioned.family_of(folder):
        return _description(folder, family, sectioned.part_files(folder, family))
    family, classes = read_index(folder)
    for name in [name for names, _ in family.slots for name in names]:
        part = PARTS[name]
        if not part.in_index and (component_folder(folder, part.folder) / "config.json").is_file():
            classes[name] = ""
    part_files = {name: _part_files(folder, PARTS[name], kind) for name, kind in classes.items()}
    return _description(folder, family, part_files)


def _description(folder: Path, family: Family, part_files: dict[str, PartFiles]) -> Description:
    configs = {name: PARTS[name].read(content) for name, content in part_files.items()}
    values = {"schedule": _read_schedule(folder)} if family.scheduler else {}
    values |= family.values(folder)
    return Description(family, part_files, family.model_config(configs, **values))


def read_config(folder: Path, convention: Convention) -> ModelConfig:
    """The model's configuration under a convention. Raises InputError."""
    return describe(folder).under(convention)


def _part_files(folder: Path, part: Part, kind: str) -> PartFiles:
    path = component_folder(folder, part.folder) / "config.json"
    beside = {name: read_json(folder / name) for name in part.beside if (folder / name).is_file()}
    return PartFiles(read_json(path), str(path), kind, beside)


def _read_schedule(folder: Path) -> ScheduleConfig:
    """The class that the scheduler's file names decides; the index serves if it names none."""
    path = folder / "scheduler" / "scheduler_config.json"
    config, entry = read_json(path), read_json(folder / "model_index.json").get("scheduler")
    kind = component_class(entry)
    schedule = read_schedule(config, str(path), kind)
    if kind not in (None, config.get("_class_name", kind)):
        warnings.warn(
            f"{path}: _class_name is {config['_class_name']!r}, which is taken, though "
            f"model_index.json says {kind!r}",
            stacklevel=2,
        )
    return schedule


def load(
    folder,
    *,
    convention: str = "authors",
    dtype=jnp.float32,
    source: str | None = None,
    report: Callable | None = None,
    without: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
    variant: str | None = None,
) -> Checkpoint:
    """Reads a folder in the hub layout, with weights cast to `dtype`.

    source: recorded as the checkpoint's origin; the folder by default.
    report: called with each part's name before it is read.
    without: parts to leave out of the model.
    only: parts whose weights are read; the others are in the configuration alone.
    variant: of the weights, such as "fp16", for the parts that have it.
    Raises InputError naming what is wrong.
    """
    folder, convention = files.user_path(folder), convention_named(convention)
    config = read_config(folder, convention)
    _check_variant(folder, config, variant)
    config = dataclasses.replace(config, **dict.fromkeys({*without} & {*parts_of(config)}))
    specs = [PARTS[name].tokenizer for name in parts_of(config)]
    tokenizers = {
        spec.folder: read_tokenizer(component_folder(folder, spec.folder)) for spec in specs if spec
    }
    params = {}
    for name in parts_of(config):
        if only is not None and name not in only:
            continue
        if report:
            report(name)
        params[name] = load_part(folder, name, getattr(config, name), dtype, variant)
    return Checkpoint(config, params, tokenizers, convention, str(source or folder))


def _check_variant(folder: Path, config: ModelConfig, variant: str | None) -> None:
    """Raises InputError for a variant that no part has."""
    folders = [component_folder(folder, PARTS[name].folder) for name in parts_of(config)]
    present = set().union(*(weights.candidates(path) for path in folders))
    if variant is not None and variant not in present:
        names = " ".join(sorted(map(repr, present - {None}))) or "none"
        raise InputError(f"{folder}: no weights of the variant {variant!r}; its variants: {names}")


def part_folders(folder: Path, name: str, config) -> list[Path]:
    """The folders that hold a part's files, its own first."""
    part = PARTS[name]
    names = (part.folder, *part.apart(config))
    own, *apart = (component_folder(Path(folder), other) for other in names)
    return [own, *filter(Path.is_dir, apart)]


def load_part(
    folder: Path, name: str, config, dtype=jnp.float32, variant: str | None = None
) -> dict:
    """One part's parameters. Raises InputError naming the file and the tensor."""
    part, folders = PARTS[name], part_folders(folder, name, config)
    table, like = part.table(config), part.shapes(config, str(folders[0] / "config.json"))
    paths = [weights.find(path, variant) for path in folders]
    known = known_to(table)
    tensors = (weights.unwrap(weights.read(path), known) for path in paths)
    source = functools.reduce(operator.or_, tensors)
    if family := sectioned.family_of(folder):
        source = sectioned.tensors_of(source, family, name)
    return to_params(source, table, like, put=cast_to(dtype), where=str(paths[0]))


def save(checkpoint: Checkpoint, folder) -> None:
    """Writes a checkpoint that diffusers loads, whole or not at all. Raises InputError."""
    files.write_folder(folder, lambda beside: _write(checkpoint, beside))


def _write(checkpoint: Checkpoint, folder: Path) -> None:
    config, family = checkpoint.config, FAMILIES[checkpoint.config.family]
    if family.sections:
        sectioned.write(folder, family, config, checkpoint.params)
        for tokenizer in checkpoint.tokenizers.values():
            write_tokenizer(tokenizer, folder)
        return
    index = {"_class_name": family.pipeline, "_diffusers_version": DIFFUSERS_VERSION}
    for name in parts_of(config):
        part = PARTS[name]
        part_files = _write_part(folder, part, getattr(config, name), checkpoint.params[name])
        index |= _index_entries(part, part_files, family)
        if spec := part.tokenizer:
            tokenizer = checkpoint.tokenizers.get(spec.folder)
            # The index names a tokenizer even if it is still to be copied in.
            kind = type(tokenizer).__name__ if tokenizer else spec.written
            index[spec.folder] = ["transformers", kind]
            if tokenizer:
                write_tokenizer(tokenizer, folder / spec.folder)
    if family.scheduler:
        index["scheduler"] = ["diffusers", scheduler_class(config.schedule)]
        (folder / "scheduler").mkdir()
        path = folder / "scheduler" / "scheduler_config.json"
        write_json(path, write_schedule(config.schedule))
    for name, content in family.beside(config).items():
        write_json(folder / name, content)
    write_json(folder / "model_index.json", index)


def _write_part(folder: Path, part: Part, config, params: dict) -> PartFiles:
    """Writes the configurations and weights of a part, and returns the configurations."""
    part_files = part.write(config)
    contents = {f"{part.folder}/config.json": part_files.content, **part_files.beside}
    for path, content in contents.items():
        (folder / path).parent.mkdir(exist_ok=True)
        write_json(folder / path, content)
    state = from_params(params, part.table(config), config)
    for other, prefix in part.apart(config).items():
        apart = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
        weights.write(folder / other / part.weights, apart)
    weights.write(folder / part.folder / part.weights, state)
    return part_files


def _index_entries(part: Part, part_files: PartFiles, family: Family) -> dict[str, list[str]]:
    """What model_index.json says of a part."""
    if not part.in_index:
        return {}
    folders = {path.split("/")[0] for path in part_files.beside}
    components = {
        name: list(entry)
        for name, entry in part.components.items()
        if name in folders and name not in family.unlisted
    }
    return {part.folder: [part.classes[part_files.kind], part_files.kind]} | components
