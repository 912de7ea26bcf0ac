"""Tokenizers for files that come without: from a folder, the hub, or a symbol table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from audioldm2_jax import files, phonemes
from audioldm2_jax.checkpoints.download import choose_tokenizer, fetch
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.presets import ModelConfig

# Where the weights' own tokenizers were published.
SOURCES = {"tokenizer": "FacebookAI/roberta-base", "tokenizer_2": "google/flan-t5-large"}
# What the authors' code cuts texts to.
_LENGTHS = {"tokenizer": 512, "tokenizer_2": 128}


def phoneme_tokenizer(length: int):
    """transformers' VitsTokenizer over the training's symbols, cut to `length` phonemes."""
    from transformers import VitsTokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        files.write_json(path, phonemes.vocabulary())
        return VitsTokenizer(
            str(path),
            pad_token=phonemes.SYMBOLS[0],
            unk_token=phonemes.SYMBOLS[0],
            language="en-us",
            add_blank=False,
            normalize=True,
            phonemize=True,
            model_max_length=length,
        )


def tokenizers_for(
    config: ModelConfig, source: str | None, *, required: bool = True
) -> dict[str, Any]:
    """What a model reads its texts with. source: a folder with tokenizer(_2); None is the hub.

    Raises InputError if they cannot be had; unless `required`, those of the hub are left out with a
    note on stderr.
    """
    parts = (("tokenizer", config.clap), ("tokenizer_2", config.t5))
    tokenizers = {}
    for name in [name for name, part in parts if part]:
        try:
            tokenizers[name] = _one(name, source)
        except InputError as error:
            if required or source is not None:
                raise
            note(f"written without {name}: {error}")
    if config.phonemes:
        tokenizers["tokenizer_2"] = phoneme_tokenizer(config.projection.positions)
    return tokenizers


def _one(name: str, source: str | None):
    if source is not None:
        folder = files.user_path(source)
        if not (folder / name).is_dir():
            raise InputError(f"--tokenizers {folder}: holds no folder {name}")
        return read_tokenizer(folder / name)
    try:
        folder = fetch(SOURCES[name], select=choose_tokenizer)
    except InputError:
        raise InputError(
            f"the file holds no tokenizer, and {SOURCES[name]} is neither in the hub's cache nor "
            "can be fetched: go online once, or give --tokenizers FOLDER with any checkpoint in "
            "the hub layout"
        ) from None
    tokenizer = read_tokenizer(folder)
    tokenizer.model_max_length = _LENGTHS[name]
    return tokenizer
