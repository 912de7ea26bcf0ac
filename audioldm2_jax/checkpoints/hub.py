"""The public hub layout, read and written: model_index.json and a folder for each part."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import configs, weights
from audioldm2_jax.checkpoints.convert import from_params, to_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import CONVENTIONS, AudioLDM2Config, Convention

TOKENIZERS = {"tokenizer": "Roberta", "tokenizer_2": "T5"}


@dataclass
class Checkpoint:
    """A loaded model: configuration, parameter trees by part, tokenizers, where it came from."""

    config: AudioLDM2Config
    params: dict[str, dict]
    tokenizers: dict[str, Any]
    convention: Convention
    source: str


def convention_named(name: str) -> Convention:
    if name not in CONVENTIONS:
        raise InputError(f"unknown convention {name!r}: choose one of {' '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def read_config(folder: Path, convention: Convention) -> AudioLDM2Config:
    """All parts' configurations. Raises InputError for a folder that is no such checkpoint."""
    _check_index(folder)
    text, mel = (
        _json(folder / "text_encoder" / "config.json"),
        _json(folder / "feature_extractor" / "preprocessor_config.json"),
    )

    def part(name):
        path = folder / name / "config.json"
        return _json(path), str(path)

    scheduler = folder / "scheduler" / "scheduler_config.json"
    unet, where = part("unet")
    return AudioLDM2Config(
        clap=configs.read_clap(text, mel, convention, str(folder / "text_encoder" / "config.json")),
        t5=configs.read_t5(*part("text_encoder_2")),
        projection=configs.read_projection(*part("projection_model")),
        gpt2=configs.read_gpt2(*part("language_model")),
        unet=configs.read_unet(unet, convention, where),
        vae=configs.read_vae(*part("vae")),
        vocoder=configs.read_vocoder(*part("vocoder")),
        schedule=configs.read_schedule(_json(scheduler), str(scheduler)),
    )


def load(folder, *, convention: str = "authors", dtype=jnp.float32, source=None, report=None):
    """Reads a hub-layout folder into a Checkpoint, casting floats to `dtype` on the fly.

    `report(part name)` is called before each part. Raises InputError naming what is wrong.
    """
    folder, convention = Path(folder), convention_named(convention)
    config = read_config(folder, convention)
    tokenizers = {name: _tokenizer(folder / name) for name in TOKENIZERS}
    params = {}
    for name in PARTS:
        if report:
            report(name)
        params[name] = load_part(folder, name, getattr(config, name), dtype)
    return Checkpoint(config, params, tokenizers, convention, str(source or folder))


def load_part(folder: Path, name: str, config, dtype=jnp.float32) -> dict:
    """One part's parameters."""
    part = PARTS[name]
    path = weights.find(Path(folder) / part.folder)

    def put(array):
        return jax.device_put(array.astype(dtype, copy=False))

    return to_params(weights.read(path), part.table, part.shapes(config), put=put, where=str(path))


def save(checkpoint: Checkpoint, folder) -> None:
    """Writes a checkpoint that diffusers loads; beside the target first, so never half of it."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: exists and is not empty; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _write(checkpoint, beside)
        if folder.exists():
            folder.rmdir()
        os.chmod(beside, 0o755)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(checkpoint, folder):
    config = checkpoint.config
    index = {"_class_name": "AudioLDM2Pipeline", "_diffusers_version": "0.42.0"}
    for name, part in PARTS.items():
        index[part.folder] = [part.library, part.classes[0]]
        (folder / part.folder).mkdir()
        settings = getattr(config, name)
        _dump(folder / part.folder / "config.json", part.write_config(settings))
        state = from_params(checkpoint.params[name], part.table, settings)
        weights.write(folder / part.folder / part.weights, state)
    index["scheduler"] = ["diffusers", "DDIMScheduler"]
    (folder / "scheduler").mkdir()
    _dump(folder / "scheduler" / "scheduler_config.json", configs.write_schedule(config.schedule))
    index["feature_extractor"] = ["transformers", "ClapFeatureExtractor"]
    (folder / "feature_extractor").mkdir()
    _dump(
        folder / "feature_extractor" / "preprocessor_config.json",
        configs.write_mel(config.clap.mel),
    )
    for name, tokenizer in checkpoint.tokenizers.items():
        index[name] = ["transformers", type(tokenizer).__name__]
        tokenizer.save_pretrained(folder / name)
    _dump(folder / "model_index.json", index)


def _dump(path: Path, content: dict):
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: missing; the checkpoint is incomplete") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object")
    return content


def _check_index(folder: Path):
    """model_index.json names every part by a class that is known here."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    path = folder / "model_index.json"
    if not path.is_file():
        raise InputError(f"{folder}: no model_index.json, so no checkpoint in the hub layout")
    index = _json(path)
    known = {part.folder: part.classes for part in PARTS.values()}
    for name, classes in known.items():
        entry = index.get(name)
        found = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if found not in classes:
            raise InputError(f"{path}: {name} is of class {found!r}; known: {' or '.join(classes)}")
    for name, family in TOKENIZERS.items():
        entry = index.get(name) or [None, None]
        if family not in str(entry[-1]):
            raise InputError(f"{path}: {name} is of class {entry[-1]!r}; a {family} one is needed")
    extra = set(index) - set(known) - set(TOKENIZERS) - {"scheduler", "feature_extractor"}
    extra = sorted(name for name in extra if not name.startswith("_") and index[name] is not None)
    if extra:
        raise InputError(f"{path}: unknown part {extra[0]!r}")


def _tokenizer(folder: Path):
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise InputError(f"{folder}: missing; the checkpoint is incomplete")
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers raises many kinds
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{folder}: the tokenizer does not load ({line})") from None
