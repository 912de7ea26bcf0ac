"""One model alone: a folder as transformers (CLAP) and timm (AudioMAE) save it, PANNs' file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from audioldm2_jax import files
from audioldm2_jax.checkpoints import configs, weights
from audioldm2_jax.checkpoints.convert import cast_to, from_params, to_params
from audioldm2_jax.checkpoints.hub import convention_named
from audioldm2_jax.checkpoints.index import read_json, write_json
from audioldm2_jax.checkpoints.parts import SINGLES
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ClapMelConfig

_EXTRACTOR = "preprocessor_config.json"


@dataclass
class Single:
    """A part's name, its configuration and parameters, and the tokenizer of one that reads text."""

    name: str
    config: Any
    params: dict
    tokenizer: Any = None


def kind_of(folder: Path) -> str | None:
    """The part that a folder without model_index.json holds; None if none is known."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        return None
    config = read_json(path)
    if config.get("model_type") == "clap":
        return "clap"
    if "architecture" in config:
        return "panns" if config["architecture"] == configs.ARCHITECTURE else "audiomae"
    architectures = config.get("architectures")
    named = [config.get("_class_name"), *(architectures if isinstance(architectures, list) else ())]
    kinds = {"AutoencoderKL": "vae", "SpeechT5HifiGan": "vocoder"}
    return next((kind for name, kind in kinds.items() if name in named), None)


def load(
    folder, *, convention: str = "authors", dtype=jnp.float32, variant: str | None = None
) -> Single:
    """Reads a folder of CLAP, AudioMAE, VAE, vocoder or PANNs, or PANNs' published file.

    variant: of the weights, see `weights.find`. Raises InputError naming what is wrong.
    """
    folder = files.user_path(folder)
    if folder.is_file():
        return _load_panns(folder, dtype)
    name = kind_of(folder)
    if name is None:
        raise InputError(f"{folder}: neither model_index.json nor a config.json of a known model")
    path, tokenizer = folder / "config.json", None
    if name == "clap":
        content = read_json(path)
        mel = _front_end(folder, content)
        config = configs.read_clap(content, mel, convention_named(convention), str(path))
        if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            tokenizer = read_tokenizer(folder)
    else:
        config = getattr(configs, f"read_{name}")(read_json(path), str(path))
    file, part = weights.find(folder, variant), SINGLES[name]
    like = part.shapes(config, str(path))
    params = to_params(
        weights.read(file), part.table(config), like, put=cast_to(dtype), where=str(file)
    )
    return Single(name, config, params, tokenizer)


def _load_panns(path: Path, dtype) -> Single:
    """`Cnn14_16k_mAP=0.438.pth` and its kin."""
    source = weights.unwrapped(weights.read(path), lambda name: name == "fc_audioset.weight")
    config = configs.panns_of_shapes({name: source.shape(name) for name in source}, str(path))
    part, put = SINGLES["panns"], cast_to(dtype)
    like, table = part.shapes(config, str(path)), part.table(config)
    return Single("panns", config, to_params(source, table, like, put=put, where=str(path)))


def _front_end(folder: Path, content: dict) -> dict:
    """The feature extractor's settings, wherever a version of transformers writes them."""
    if (folder / _EXTRACTOR).is_file():
        return read_json(folder / _EXTRACTOR)
    processor = folder / "processor_config.json"
    if processor.is_file() and "feature_extractor" in (settings := read_json(processor)):
        return settings["feature_extractor"]
    # The model alone: CLAP's own front end, by whether it fuses.
    audio = content.get("audio_config")
    fusion = isinstance(audio, dict) and audio.get("enable_fusion") is True
    return configs.write_mel(ClapMelConfig(fusion=fusion))


def save(model: Single, folder) -> None:
    """Writes the folder that `load` (and transformers or timm) reads; whole or not at all."""
    files.write_folder(folder, lambda beside: _write(model, beside))


def _write(model, folder):
    part = SINGLES[model.name]
    write_json(folder / "config.json", part.write_config(model.config))
    state = from_params(model.params, part.table(model.config), model.config)
    weights.write(folder / part.weights, state)
    if model.name == "clap":
        write_json(folder / _EXTRACTOR, configs.write_mel(model.config.mel))
    if model.tokenizer is not None:
        write_tokenizer(model.tokenizer, folder)
