"""A model, or one part alone, from an opened authors' file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from audioldm2_jax.checkpoints.authors.source import Source
from audioldm2_jax.checkpoints.convert import cast_to, to_params
from audioldm2_jax.checkpoints.families import FAMILIES
from audioldm2_jax.checkpoints.hub import Checkpoint
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.checkpoints.tokenizers import part_tokenizers, tokenizers_for
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import CONVENTIONS, ModelConfig

# Parts that a file may hold alone; of several (an autoencoder with its vocoder) the first is read.
_SINGLES = ("clap", "audiomae", "vae", "vocoder")


def read_configs(source: Source) -> dict:
    """{part: configuration}, from shapes. Raises InputError for shapes of no known model."""
    constants = {} if source.scale is None else {"scale_factor": source.scale}
    try:
        return {
            name: PARTS[name].authors.read_shapes(
                Shapes(content, f"{source.path}: {name}", constants)
            )
            for name, content in source.parts.items()
        }
    except InputError:
        raise
    except (ValueError, IndexError, ZeroDivisionError, StopIteration):
        raise InputError(f"{source.path}: its tensors have shapes of no known model") from None


def model_config(source: Source) -> ModelConfig:
    """The whole model. Raises InputError naming a part that its family needs and the file lacks."""
    if not source.is_model:
        parts = " ".join(source.parts)
        raise InputError(f"{source.path}: holds {parts}, which alone makes no sound; convert it")
    parts = read_configs(source)
    candidates = (family for family in FAMILIES.values() if family.in_authors_file)
    family = next(family for family in candidates if family.in_authors_file(parts))
    if missing := family.missing(parts):
        raise InputError(
            f"{source.path}: a U-Net of the family {family.name}, but no {missing} with it"
        )
    if source.scale is None:
        raise InputError(f"{source.path}: tensor scale_factor is missing; without it no latents")
    return family.mended(family.model_config(parts))


def load_part(source: Source, name: str, config, dtype=jnp.float32) -> dict:
    """One part's parameters. Raises InputError naming the file and the tensor."""
    part, where = PARTS[name], f"{source.path}: {name}"
    table, like = part.authors.table(config), part.shapes(config, where)
    return to_params(source.parts[name], table, like, put=cast_to(dtype), where=where)


def load(
    source: Source,
    *,
    tokenizers: str | None = None,
    dtype=jnp.float32,
    report: Callable | None = None,
    without: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
    need_tokenizers: bool = True,
) -> Checkpoint:
    """A whole model from an opened file, as `hub.load` gives it.

    tokenizers: a folder in the hub layout to take them from, None for the hub. need_tokenizers:
    whether the hub must have them. report, without, only: as for `hub.load`. Raises InputError.
    """
    config = dataclasses.replace(model_config(source), **dict.fromkeys(without))
    source.report()
    texts = tokenizers_for(config, tokenizers, required=need_tokenizers)
    params = {}
    for name in parts_of(config):
        if only is not None and name not in only:
            continue
        if report:
            report(name)
        params[name] = load_part(source, name, getattr(config, name), dtype)
    return Checkpoint(config, params, texts, CONVENTIONS["authors"], str(source.path))


def load_single(source: Source, tokenizers: str | None = None) -> Single:
    """The one part of a file that is no whole model: CLAP, AudioMAE, an autoencoder, a vocoder.

    tokenizers: as for `load`. Raises InputError.
    """
    holds = " ".join(source.parts)
    name = next((n for n in _SINGLES if n in source.parts), None)
    if name is None or set(source.parts) not in ({name}, {"vae", "vocoder"}):
        raise InputError(f"{source.path}: holds {holds}, which is neither a model nor one part")
    if source.unused:
        raise InputError(f"{source.describe_unused()}, so it is more than the {name} that it holds")
    config = read_configs(source)[name]
    params = load_part(source, name, config)
    texts = part_tokenizers([PARTS[name]], tokenizers, required=False)
    return Single(name, config, params, next(iter(texts.values()), None))
