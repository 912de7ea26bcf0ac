"""Tokenizers for files that come without: from a folder, the hub, or a symbol table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from audioldm2_jax.checkpoints.download import choose_tokenizer, fetch
from audioldm2_jax.checkpoints.index import component_folder
from audioldm2_jax.checkpoints.parts import PARTS, Part, parts_of
from audioldm2_jax.checkpoints.parts.base import TokenizerSpec
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.files import user_path


def tokenizers_for(config, source: str | None, *, required: bool = True) -> dict[str, Any]:
    """{folder: tokenizer} of all parts of a model that read text.

    source: a folder in the hub layout to take them from; None is the hub. Raises InputError if they
    cannot be had; unless `required`, those of the hub are left out with a note on stderr.
    """
    parts = [PARTS[name] for name in parts_of(config)]
    built = {
        part.tokenizer.folder: part.tokenizer.make(config)
        for part in parts
        if part.tokenizer and part.tokenizer.make
    }
    return part_tokenizers(parts, source, required=required) | built


def part_tokenizers(
    parts: Iterable[Part], source: str | None, *, required: bool = True
) -> dict[str, Any]:
    """{folder: tokenizer} of the parts whose tokenizer was published; see `tokenizers_for`."""
    tokenizers = {}
    for spec in (part.tokenizer for part in parts):
        if spec is None or not spec.source:
            continue
        try:
            tokenizers[spec.folder] = _load(spec, source)
        except InputError as error:
            if required or source is not None:
                raise
            note(f"written without {spec.folder}: {error}")
    return tokenizers


def _load(spec: TokenizerSpec, source: str | None):
    if source is not None:
        folder = user_path(source)
        if not component_folder(folder, spec.folder).is_dir():
            raise InputError(f"--tokenizers {folder}: holds no folder {spec.folder}")
        return read_tokenizer(component_folder(folder, spec.folder))
    try:
        folder = fetch(spec.source, select=choose_tokenizer)
    except InputError:
        raise InputError(
            f"the file holds no tokenizer, and {spec.source} is neither in the hub's cache nor "
            "can be fetched: go online once, or give --tokenizers FOLDER with any checkpoint in "
            "the hub layout"
        ) from None
    tokenizer = read_tokenizer(folder)
    tokenizer.model_max_length = spec.length
    return tokenizer
