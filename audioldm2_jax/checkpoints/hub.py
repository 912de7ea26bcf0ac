"""The public hub layout, read and written: model_index.json and a folder for each part."""

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
from audioldm2_jax.checkpoints import configs, weights
from audioldm2_jax.checkpoints.convert import cast_to, from_params, known_to, to_params
from audioldm2_jax.checkpoints.index import PIPELINES, read_index, read_json, write_json
from audioldm2_jax.checkpoints.parts import PARTS, parts_of, written_class
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import CONVENTIONS, CLAPConfig, Convention, ModelConfig, ScheduleConfig

# CLAP's audio tower, which AudioLDM's published layout lacks, lies beside the text tower.
_AUDIO_TOWER = "audio_encoder"
_EXTRACTOR = Path("feature_extractor") / "preprocessor_config.json"


@dataclass
class Checkpoint:
    """A loaded model: configuration, parameter trees by part, tokenizers, where it came from."""

    config: ModelConfig
    params: dict[str, dict]
    tokenizers: dict[str, Any]
    convention: Convention
    source: str


def convention_named(name: str) -> Convention:
    if not isinstance(name, str) or name not in CONVENTIONS:
        raise InputError(f"unknown convention {name!r}: choose one of {' '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def read_config(folder: Path, convention: Convention) -> ModelConfig:
    """All parts' configurations. Raises InputError for a folder that is no such checkpoint."""
    family, classes = read_index(folder)

    def part(name):
        if name not in classes:
            return None
        path = folder / PARTS[name].folder / "config.json"
        return getattr(configs, f"read_{name}")(read_json(path), str(path))

    unet = folder / "unet" / "config.json"
    phonemes, gpt2, vocoder = part("phonemes"), part("gpt2"), part("vocoder")
    if vocoder and not convention.griffin_lim:
        vocoder = dataclasses.replace(vocoder, griffin_lim=0)
    if phonemes and gpt2.tokens <= 8:
        # Published files keep the number of AudioLDM 2's sounds; speech was trained with 512.
        gpt2 = dataclasses.replace(gpt2, tokens=512)
    audiomae = folder / PARTS["audiomae"].folder / "config.json"
    return ModelConfig(
        family,
        clap=_read_clap(folder, classes["clap"], convention) if "clap" in classes else None,
        t5=part("t5"),
        phonemes=phonemes,
        projection=part("projection"),
        gpt2=gpt2,
        unet=configs.read_unet(read_json(unet), convention, str(unet), classes["unet"]),
        vae=part("vae"),
        vocoder=vocoder,
        schedule=_read_schedule(folder),
        audiomae=configs.read_audiomae(read_json(audiomae), str(audiomae))
        if audiomae.is_file()
        else None,
    )


def _read_schedule(folder: Path) -> ScheduleConfig:
    """The file's own class decides; the index names it where the file does not."""
    path = folder / "scheduler" / "scheduler_config.json"
    config, entry = read_json(path), read_json(folder / "model_index.json").get("scheduler")
    kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    schedule = configs.read_schedule(config, str(path), kind)
    if kind not in (None, config.get("_class_name", kind)):
        warnings.warn(
            f"{path}: _class_name is {config['_class_name']!r}, which is taken, though "
            f"model_index.json says {kind!r}",
            stacklevel=2,
        )
    return schedule


def _read_clap(folder: Path, kind: str, convention: Convention) -> CLAPConfig:
    """One ClapModel, or a text tower with or without an audio tower beside it."""
    path = folder / "text_encoder" / "config.json"
    config, tower = read_json(path), folder / _AUDIO_TOWER / "config.json"
    alone = kind == "ClapTextModelWithProjection"
    if alone:
        config = configs.join_towers(config, read_json(tower) if tower.is_file() else None)
    extractor = folder / _EXTRACTOR
    mel = read_json(extractor) if extractor.is_file() or not alone else None
    return configs.read_clap(config, mel, convention, str(path))


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
    """Reads a hub-layout folder into a Checkpoint, casting floats to `dtype` on the fly.

    `report(part name)` is called before each part; parts named in `without` are left out; with
    `only`, the others are in the configuration alone. variant: of the weights, such as "fp16", of
    the parts that have it. Raises InputError naming what is wrong.
    """
    folder, convention = files.user_path(folder), convention_named(convention)
    config = read_config(folder, convention)
    _check_variant(folder, config, variant)
    if without:
        config = dataclasses.replace(config, **dict.fromkeys(without))
    tokenizers = {}
    if config.clap:
        tokenizers["tokenizer"] = read_tokenizer(folder / "tokenizer")
    if config.t5 or config.phonemes:
        tokenizers["tokenizer_2"] = read_tokenizer(folder / "tokenizer_2")
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
    folders = [folder / PARTS[name].folder for name in parts_of(config)]
    present = set().union(*(weights.candidates(path) for path in folders))
    if variant is not None and variant not in present:
        names = " ".join(sorted(map(repr, present - {None}))) or "none"
        raise InputError(f"{folder}: no weights of the variant {variant!r}; its variants: {names}")


def load_part(
    folder: Path, name: str, config, dtype=jnp.float32, variant: str | None = None
) -> dict:
    """One part's parameters. Raises InputError naming the file and the tensor."""
    part, folder = PARTS[name], Path(folder)
    table, like = part.table(config), part.shapes(config, str(folder / part.folder / "config.json"))
    paths = [weights.find(folder / part.folder, variant)]
    if name == "clap" and not config.scales and config.audio:
        paths.append(weights.find(folder / _AUDIO_TOWER, variant))
    known = known_to(table)
    towers = (weights.unwrapped(weights.read(path), known) for path in paths)
    source = functools.reduce(operator.or_, towers)
    return to_params(source, table, like, put=cast_to(dtype), where=str(paths[0]))


def save(checkpoint: Checkpoint, folder) -> None:
    """Writes a checkpoint that diffusers loads; beside the target first, so never half of it."""
    files.write_folder(folder, lambda beside: _write(checkpoint, beside))


def _write(checkpoint, folder):
    config = checkpoint.config
    names = {family: name for name, family in PIPELINES.items()}
    index = {"_class_name": names[config.family], "_diffusers_version": "0.42.0"}
    for name in parts_of(config):
        if name != "audiomae":
            index[PARTS[name].folder] = list(written_class(name, config))
        write_part(folder, name, config, checkpoint.params[name])
    index["scheduler"] = ["diffusers", configs.scheduler_class(config.schedule)]
    (folder / "scheduler").mkdir()
    write_json(
        folder / "scheduler" / "scheduler_config.json", configs.write_schedule(config.schedule)
    )
    if config.clap and config.clap.mel:
        if config.family != "audioldm":
            index["feature_extractor"] = ["transformers", "ClapFeatureExtractor"]
        (folder / _EXTRACTOR).parent.mkdir()
        write_json(folder / _EXTRACTOR, configs.write_mel(config.clap.mel))
    # The index names tokenizers even where they are still to be copied in.
    for name, part, kind in (
        ("tokenizer", config.clap, "RobertaTokenizerFast"),
        ("tokenizer_2", config.t5 or config.phonemes, "T5TokenizerFast"),
    ):
        tokenizer = checkpoint.tokenizers.get(name)
        if part:
            index[name] = ["transformers", type(tokenizer).__name__ if tokenizer else kind]
        if tokenizer:
            write_tokenizer(tokenizer, folder / name)
    write_json(folder / "model_index.json", index)


def write_part(folder: Path, name: str, config: ModelConfig, params: dict) -> None:
    """One part's folder (for AudioLDM's CLAP, one for each tower)."""
    part, settings = PARTS[name], getattr(config, name)
    state = from_params(params, part.table(settings), settings)

    def put(where, content, tensors):
        (folder / where).mkdir()
        write_json(folder / where / "config.json", content)
        weights.write(folder / where / part.weights, tensors)

    if name == "clap" and config.family == "audioldm":
        text, audio = configs.write_towers(settings)
        towers = {k: v for k, v in state.items() if k.startswith("audio_")}
        put(part.folder, text, {k: v for k, v in state.items() if k not in towers})
        if audio:
            put(_AUDIO_TOWER, audio, towers)
    elif name == "unet" and settings.plain:
        put(part.folder, configs.write_plain_unet(settings), state)
    else:
        put(part.folder, part.write_config(settings), state)
