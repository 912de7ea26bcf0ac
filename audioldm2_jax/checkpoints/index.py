"""model_index.json: which family a folder holds, and which class each of its parts is."""

from __future__ import annotations

import os
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError

# Our own class name stands for the one published model that no diffusers pipeline runs.
PIPELINES = {
    "AudioLDM2Pipeline": "audioldm2",
    "AudioLDMPipeline": "audioldm",
    "MusicLDMPipeline": "musicldm",
    "AudioLDMT5Pipeline": "audioldm_t5",
}
_CLAP = ("text_encoder", "tokenizer")
_TEXT = ("text_encoder_2", "tokenizer_2")
_DIFFUSION = ("unet", "vae", "vocoder", "scheduler")
REQUIRED = {
    "audioldm2": (*_CLAP, *_TEXT, "projection_model", "language_model", *_DIFFUSION),
    "audioldm": (*_CLAP, *_DIFFUSION),
    "musicldm": (*_CLAP, *_DIFFUSION),
    "audioldm_t5": (*_TEXT, *_DIFFUSION),
}
OPTIONAL = {
    "audioldm2": ("feature_extractor",),
    "audioldm": ("feature_extractor",),
    "musicldm": ("feature_extractor",),
    "audioldm_t5": (*_CLAP, "feature_extractor"),
}
TOKENIZERS = {"tokenizer": ("Roberta",), "tokenizer_2": ("T5", "Vits")}


def read_index(folder: Path) -> tuple[str, dict[str, str]]:
    """(family, {part: class}). Raises InputError for what no code here computes."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    path = folder / "model_index.json"
    if not path.is_file():
        raise InputError(f"{folder}: no model_index.json, so no checkpoint in the hub layout")
    index = read_json(path)
    name = index.get("_class_name", "AudioLDM2Pipeline")
    if not isinstance(name, str) or name not in PIPELINES:
        raise InputError(f"{path}: pipeline {name!r:.80} is not known: {' '.join(PIPELINES)}")
    family = PIPELINES[name]
    entries = {
        k: v for k, v in index.items() if not k.startswith("_") and v not in (None, [None] * 2)
    }
    known = REQUIRED[family] + OPTIONAL[family]
    if extra := sorted(set(entries) - set(known)):
        raise InputError(f"{path}: unknown part {extra[0]!r:.80}")
    classes = {}
    for name in known:
        if name in entries or name in REQUIRED[family]:
            classes |= _entry(path, name, entries.get(name))
    return family, classes


def _entry(path: Path, name: str, entry) -> dict[str, str]:
    """{part: class} of one folder, nothing for tokenizers and the like."""
    kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    kind = kind if isinstance(kind, str) else None
    if name in TOKENIZERS:
        families = TOKENIZERS[name]
        if not any(family in str(kind) for family in families):
            raise InputError(
                f"{path}: {name} is of class {kind!r:.80}; a {' or '.join(families)} one is needed"
            )
        return {}
    choices = {c: n for n, part in PARTS.items() if part.folder == name for c in part.classes}
    if not choices:
        return {}
    if kind not in choices:
        raise InputError(f"{path}: {name} is of class {kind!r:.80}; known: {' or '.join(choices)}")
    return {choices[kind]: kind}


def read_json(path: Path) -> dict:
    """A JSON object. Raises InputError if the file is missing or holds none."""
    if not os.path.exists(path):
        raise InputError(f"{path}: missing; the checkpoint is incomplete")
    return files.read_json(path)


def write_json(path: Path, content: dict) -> None:
    files.write_json(path, content, indent=2, sort_keys=True)
