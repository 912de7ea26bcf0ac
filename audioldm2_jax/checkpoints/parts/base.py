"""What one part of a checkpoint is: its network, its files, and its conversion tables."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax
import jax
import jax.numpy as jnp

from audioldm2_jax import caching, files, tree
from audioldm2_jax.checkpoints.convert import Table
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import Convention

# The weight files that diffusers and transformers write.
DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
TRANSFORMERS_FILE = "model.safetensors"
# Shapes are kept on disk if tracing them takes longer, in seconds; all of them in so many bytes.
_SLOW = 0.2
_SHAPES_BYTES = 1 << 26


@dataclass(frozen=True)
class PartFiles:
    """The JSON files that describe one part.

    content: its config.json. where: the path of that file, for messages. kind: its class in
    model_index.json, "" for a part that lies alone in a folder. beside: further files, {path in the
    checkpoint: content}.
    """

    content: dict
    where: str = "config.json"
    kind: str = ""
    beside: Mapping[str, dict] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """The tokenizer of a part that reads text.

    folder: where it lies in a checkpoint. kinds: words of which its class in model_index.json holds
    one. written: the class that we name if there is no tokenizer to ask. source: the hub id of the
    published one, and length: the number of tokens to which the authors' code cuts texts. make:
    builds the tokenizer from the model's configuration, for one that is not downloaded.
    """

    folder: str
    kinds: tuple[str, ...]
    written: str
    source: str = ""
    length: int = 0
    make: Callable[[Any], Any] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AuthorsPart:
    """A part inside one of the authors' files (.ckpt, .pth), which hold tensors alone.

    mark: a tensor that every file with the part holds, behind any prefix. partner: a second tensor
    behind the same prefix, where the mark alone is ambiguous. table: conversion of the authors'
    names. read_shapes: the configuration from the tensors' shapes. gather: the part's tensors under
    the names in `table`, from {part: tensors behind its prefix} and the file's path.
    """

    mark: str
    table: Callable[[Any], Table]
    read_shapes: Callable[[Shapes], Any]
    partner: str = ""
    gather: Callable[[Mapping[str, Weights], Any], Weights] | None = None


def as_written(config, files: PartFiles, convention: Convention):
    """The interpretation of a part whose files leave nothing open."""
    return config


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One network of a checkpoint. A new one is a file in `parts/` and a line in `PARTS`.

    name: the field of the model's configuration, and the key of its parameters.
    folder: its sub-folder in the hub layout.
    classes: {class in model_index.json: the library that index names for it}.
    weights: the name of the weight file that we write.
    model: the network of a configuration.
    inputs: small arguments for the network's `init`.
    read: the configuration, exactly as the files say it. Raises InputError.
    write: the files of a configuration; `read` of them gives the configuration again.
    table: conversion between the hub's tensors and our parameters.
    interpret: what a convention changes in a configuration that was read.
    beside: further JSON files of the part, read where they exist.
    components: {folder in model_index.json: (library, class)} that come with the part.
    apart: {folder: prefix of the tensors stored there}, for tensors outside `folder`.
    tokenizer: of a part that reads text.
    authors: how the authors' files hold the part.
    in_index: False for a part that model_index.json does not list.
    describes: whether a config.json without model_index.json is of this part.
    alone: the configuration under which the part is saved in a folder of its own.
    """

    name: str
    folder: str
    classes: Mapping[str, str]
    weights: str
    model: Callable[[Any], Any]
    inputs: Callable[[Any], tuple]
    read: Callable[[PartFiles], Any]
    write: Callable[[Any], PartFiles]
    table: Callable[[Any], Table]
    interpret: Callable[[Any, PartFiles, Convention], Any] = as_written
    beside: tuple[str, ...] = ()
    components: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    apart: Callable[[Any], Mapping[str, str]] = lambda config: {}
    tokenizer: TokenizerSpec | None = None
    authors: AuthorsPart | None = None
    in_index: bool = True
    describes: Callable[[dict], bool] = lambda content: False
    alone: Callable[[Any], Any] = lambda config: config

    def shapes(self, config, where: str = "") -> dict:
        """Tree of parameter shapes; nothing is computed.

        where: the file of the configuration. Raises InputError if its entries do not fit together.
        """
        try:
            # A copy, so that no caller changes the cached tree.
            return jax.tree.map(lambda shape: shape, _shapes(self, config))
        except Exception as error:  # layers answer impossible sizes with errors of many kinds
            where = where or f"{self.folder}/config.json"
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise InputError(
                f"{where}: its entries do not fit together ({reason[0][:200]})"
            ) from None


@functools.cache
def _shapes(part: Part, config) -> dict:
    """Kept, also on disk: tracing a large network takes seconds."""
    versions = [jax.__version__, flax.__version__, caching.source_digest()]
    name = f"{part.name}-{caching.key(repr(config), *versions)}.json"
    path = files.cache_folder("shapes") / name
    if shapes := _stored_shapes(path):
        return shapes
    begin, model = time.perf_counter(), part.model(config)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *part.inputs(config)))["params"]
    if time.perf_counter() - begin > _SLOW:
        flat = {name: [x.shape, x.dtype.name] for name, x in tree.flatten(shapes).items()}
        caching.store(path, lambda file: files.write_json(file, flat), limit=_SHAPES_BYTES)
    return shapes


def _stored_shapes(path) -> dict | None:
    """The tree of shapes in a file; None for one that is absent or damaged."""
    try:
        entries = files.read_json(path).items()
        return tree.unflatten({name: jax.ShapeDtypeStruct(*entry) for name, entry in entries})
    except (InputError, TypeError, ValueError):
        return None


def token_ids(length: int = 4) -> jax.Array:
    """Token ids or a mask for `init`: zeros [1, length]."""
    return jnp.zeros((1, length), jnp.int32)


def named_classes(content: dict) -> list:
    """The classes that a config.json names, of diffusers and of transformers."""
    architectures = content.get("architectures")
    return [
        content.get("_class_name"),
        *(architectures if isinstance(architectures, list) else ()),
    ]
