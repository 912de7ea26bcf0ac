"""One model alone: a folder as transformers (CLAP, codecs) and timm (AudioMAE) save it, or a
published file of PANNs, VGGish, MusicNN, HuBERT or a codec.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from audioldm2_jax import files
from audioldm2_jax.checkpoints import weights
from audioldm2_jax.checkpoints.convert import cast_to, from_params, to_params
from audioldm2_jax.checkpoints.hub import convention_named
from audioldm2_jax.checkpoints.index import read_json, write_json
from audioldm2_jax.checkpoints.parts import PARTS, Part, PartFiles, hubert, musicnn, panns, vggish
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from audioldm2_jax.errors import InputError


@dataclass
class Single:
    """One part outside a checkpoint. tokenizer: of a part that reads text."""

    name: str
    config: Any
    params: dict
    tokenizer: Any = None


def kind_of(folder: Path) -> str | None:
    """The part that a folder without model_index.json holds; None if none is known."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        return None
    content = read_json(path)
    return next((name for name, part in PARTS.items() if part.describes(content)), None)


def read_config(folder, *, convention: str = "authors") -> tuple[str, Any]:
    """(name of the part, its configuration) of a folder, without its weights.

    Raises InputError naming what is wrong.
    """
    folder = files.user_path(folder)
    name = kind_of(folder)
    if name is None:
        raise InputError(f"{folder}: neither model_index.json nor a config.json of a known model")
    part, part_files = PARTS[name], _part_files(folder, PARTS[name])
    return name, part.interpret(part.read(part_files), part_files, convention_named(convention))


def load(
    folder, *, convention: str = "authors", dtype=jnp.float32, variant: str | None = None
) -> Single:
    """Reads a folder of one part, or a published file, see `from_tensors`.

    variant: of the weights, see `weights.find`. Raises InputError naming what is wrong.
    """
    folder = files.user_path(folder)
    if folder.is_file():
        return from_tensors(weights.read(folder), str(folder), dtype)
    name, config = read_config(folder, convention=convention)
    part, tokenizer = PARTS[name], None
    if part.tokenizer and any((folder / f).is_file() for f in ("tokenizer.json", "vocab.json")):
        tokenizer = read_tokenizer(folder)
    file, like = weights.find(folder, variant), part.shapes(config, str(folder / "config.json"))
    params = to_params(
        weights.read(file), part.table(config), like, put=cast_to(dtype), where=str(file)
    )
    return Single(name, config, params, tokenizer)


def _flat(names) -> dict[str, str]:
    """{file of a checkpoint: its name in the folder of a part alone}, which has no sub-folders."""
    flat = {name: Path(name).name for name in names}
    return {name: file for name, file in flat.items() if file != "config.json"}


def _part_files(folder: Path, part: Part) -> PartFiles:
    path = folder / "config.json"
    flat = {name: folder / file for name, file in _flat(part.beside).items()}
    beside = {name: read_json(file) for name, file in flat.items() if file.is_file()}
    return PartFiles(read_json(path), str(path), beside=beside)


# Parts of which a published file holds one alone, under its authors' names.
_PUBLISHED = {module.MARK: module for module in (panns, vggish, musicnn, hubert)}
_CODECS = {
    part.authors.mark: part for part in PARTS.values() if part.folder == "codec" and part.authors
}


def from_tensors(source: weights.Weights, where: str, dtype=jnp.float32) -> Single:
    """A part from the tensors of a published file: `Cnn14_16k_mAP=0.438.pth` and its kin, VGGish
    as torchvggish has it, MusicNN's checkpoints, HuBERT's of fairseq, Descript's codec, EnCodec.
    Raises InputError for others.
    """
    source = weights.unwrap(source, {*_PUBLISHED, *_CODECS}.__contains__)
    if part := next((part for mark, part in _CODECS.items() if mark in source), None):
        return _codec(part, source, where, dtype)
    module = next((module for mark, module in _PUBLISHED.items() if mark in source), panns)
    part, config = module.PART, _config_of(module, source, where)
    if part is panns.PART:
        config = panns.check_front_end(source, config, where)
    like = part.shapes(config, where)
    params = to_params(source, part.table(config), like, put=cast_to(dtype), where=where)
    return Single(part.name, config, params)


def _config_of(module, source: weights.Weights, where: str) -> Any:
    """The configuration that the tensors' shapes say."""
    if module is hubert:
        return hubert.read_shapes(Shapes(source, where))
    return module.config_of_shapes({name: source.shape(name) for name in source}, where)


def _codec(part: Part, source: weights.Weights, where: str, dtype) -> Single:
    authors = part.authors
    source = authors.gather({part.name: source}, where)
    config = authors.read_shapes(Shapes(source, where))
    like = part.shapes(config, where)
    params = to_params(source, authors.table(config), like, put=cast_to(dtype), where=where)
    return Single(part.name, config, params)


def is_published_file(path: Path) -> bool:
    """Whether a file holds a network that `from_tensors` reads. Raises InputError if damaged."""
    marks = {*_PUBLISHED, *_CODECS}
    source = weights.unwrap(weights.read(path), marks.__contains__)
    return any(mark in source for mark in marks)


def save(model: Single, folder) -> None:
    """Writes the folder that `load` (and transformers or timm) reads; whole or not at all."""
    files.write_folder(folder, lambda beside: _write(model, beside))


def _write(model: Single, folder: Path) -> None:
    part = PARTS[model.name]
    config = part.alone(model.config)
    part_files = part.write(config)
    write_json(folder / "config.json", part_files.content)
    for name, file in _flat(part_files.beside).items():
        write_json(folder / file, part_files.beside[name])
    weights.write(folder / part.weights, from_params(model.params, part.table(config), config))
    if model.tokenizer is not None:
        write_tokenizer(model.tokenizer, folder)
