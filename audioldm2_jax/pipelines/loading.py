"""From a model's name to its configuration, and from there to a checkpoint in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from audioldm2_jax import backend, caching
from audioldm2_jax.checkpoints import download, hub, prepared, registry, tango
from audioldm2_jax.checkpoints import lora as low_rank
from audioldm2_jax.checkpoints.authors import assemble
from audioldm2_jax.checkpoints.authors.source import open_file
from audioldm2_jax.checkpoints.families import FAMILIES
from audioldm2_jax.checkpoints.parts import parts_of
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import cannot, user_path
from audioldm2_jax.log import timed_message
from audioldm2_jax.models.int8 import check_quantize, quantize_in_place, quantizes
from audioldm2_jax.pipelines.memory import check_model, model_shapes, part_dtype, prepack_part
from audioldm2_jax.pipelines.parts import PartsInTurn
from audioldm2_jax.presets import PRESETS, Convention, ModelConfig


@dataclasses.dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint whose configuration is read, and whose weights are not.

    config: what requests are checked with; source: what messages and records call it.
    """

    config: ModelConfig
    convention: Convention
    dtype: Any
    source: str
    quantize: str | None
    _open: Callable[[], _Files]

    def load(self, devices: Sequence | None = None, *, low_memory: bool = False) -> hub.Checkpoint:
        """Reads the weights, which are to lie on each of the devices (None: the default one).

        Each part is finished before the next is read: LoRA added, matrices quantised, kernels
        prepacked. low_memory: the checkpoint's params are `PartsInTurn`, read when they are asked
        for; their kernels stay plain, which take less memory. Raises InputError for weights that do
        not fit, or are not whole.
        """
        opened = self._open()
        checkpoint, config = opened.checkpoint, opened.checkpoint.config
        fit = {"quantize": self.quantize, "low_memory": low_memory}
        check_model(config, self.dtype, checkpoint.source, devices, **fit)
        read = functools.partial(self._read_part, opened, low_memory=low_memory)
        if low_memory:
            shapes = model_shapes(config, self.dtype, self.quantize)
            return dataclasses.replace(checkpoint, params=PartsInTurn(shapes, read))
        with timed_message(f"loading {checkpoint.source}", opened.progress):
            params = {name: read(name) for name in parts_of(config)}
        return dataclasses.replace(checkpoint, params=params)

    def _read_part(self, opened: _Files, name: str, *, low_memory: bool) -> dict:
        """A finished part; where the backend maps weights, from the package's cache."""

        def make() -> dict:
            params = opened.read(name)
            if quantizes(name, self.quantize):
                quantize_in_place(params)
            if not low_memory:
                prepack_part(name, params, self.dtype)
            return params

        if not backend.current().maps_weights or (identity := opened.identity(name)) is None:
            return make()
        identity = [*identity, jnp.dtype(self.dtype).name, self.quantize, low_memory]
        return prepared.load_or_make(name, identity, make)


class _Files(NamedTuple):
    """The files of a checkpoint, all on this machine.

    checkpoint: without parameters. read: a part's, as the files have them. identity: JSON values
    that change with a part's files; None for what is not to be cached.
    """

    checkpoint: hub.Checkpoint
    read: Callable[[str], dict]
    identity: Callable[[str], list | None]
    progress: bool


def open_checkpoint(
    model,
    dtype=None,
    convention: str = "authors",
    *,
    revision: str | None = None,
    variant: str | None = None,
    tokenizers=None,
    lora=None,
    lora_strength: float = 1.0,
    quantize: str | None = None,
    families: Sequence[str] | None = None,
    progress: bool = True,
) -> OpenCheckpoint:
    """Reads a checkpoint's configuration; arguments as of `Pipeline.from_pretrained`.

    Of published models it is known, of other repositories of the hub the small files are fetched.
    families: those that the caller runs; None: those of latent diffusion. Raises InputError.
    """
    dtype, read_as = parse_dtype(dtype), hub.convention_named(convention)
    check_quantize(quantize)
    _import_transformers()
    changes = _load_lora(lora, lora_strength)
    name = registry.hub_name(str(model))
    kind = _kind(name)
    _check_effect(
        kind, model, convention, revision=revision, variant=variant, tokenizers=tokenizers
    )
    config = _read_config(name, kind, read_as, revision)
    _check_family(config.family, model, families)

    def opened() -> _Files:
        if kind.is_file:
            path = registry.resolve(name, revision=revision, quiet=not progress)
            files = _open_file(path, dtype, tokenizers, progress)
        else:
            files = _open_folder(name, dtype, convention, revision, variant, tokenizers, progress)
        return files if changes is None else _with_lora(files, lora, changes, lora_strength)

    return OpenCheckpoint(config, read_as, dtype, str(model), quantize, opened)


def _check_family(family: str, model, families: Sequence[str] | None) -> None:
    """Raises InputError for a model of another family than the caller runs."""
    if families is None:
        families = [name for name, other in FAMILIES.items() if other.scheduler]
    if family not in families:
        raise InputError(f"{model}: of the family {family}; {' '.join(families)} can run here")


class _Kind(NamedTuple):
    """Whether a checkpoint lies on this machine; whether it is an authors' file, not a folder;
    whether the folder is TANGO's.
    """

    is_local: bool
    is_file: bool
    is_tango: bool = False

    @property
    def is_authors(self) -> bool:
        """Whether it is read as its authors do, with tokenizers from elsewhere."""
        return self.is_file or self.is_tango


def _kind(name: str) -> _Kind:
    """Raises InputError for what is no path."""
    if name in registry.OFFICIAL_FILES:
        return _Kind(is_local=False, is_file=True)
    if name in download.bundled():
        return _Kind(is_local=True, is_file=False)
    path = user_path(name)
    try:
        is_tango = tango.is_tango(path) or registry.PUBLISHED.get(name) == "tango"
        return _Kind(path.exists(), path.is_file(), is_tango)
    except OSError as error:
        raise cannot(path, "read", error) from None


def _check_effect(kind: _Kind, model, convention: str, *, revision, variant, tokenizers) -> None:
    """Raises InputError for an option that has no effect on the checkpoint."""
    if revision and kind.is_local:
        raise InputError(f"revision {revision}: {model} is on this machine; leave revision out")
    if variant is not None and kind.is_authors:
        raise InputError(f"variant {variant}: {model} has its authors' files, without variants")
    if convention != "authors" and kind.is_authors:
        raise InputError(
            f"convention {convention}: {model} has its authors' files, which are read as they do"
        )
    if tokenizers is not None and not kind.is_authors:
        raise InputError(f"tokenizers {tokenizers}: are for an authors' file; {model} has its own")


def _read_config(name: str, kind: _Kind, convention: Convention, revision) -> ModelConfig:
    if name in registry.PUBLISHED and not kind.is_local:
        return PRESETS[registry.PUBLISHED[name]]()
    if kind.is_file:
        return assemble.model_config(open_file(user_path(name)))
    folder = download.locate(name, revision=revision, quiet=True, configs_only=True)
    if tango.is_tango(folder):
        return tango.read_config(folder)
    return hub.read_config(folder, convention)


def _open_folder(name, dtype, convention, revision, variant, tokenizers, progress) -> _Files:
    folder = download.locate(name, revision=revision, quiet=not progress, variant=variant)
    # The hub's cache names a snapshot's folder after its commit.
    commit = f"@{folder.name}" if folder.parent.name == "snapshots" else ""
    source = f"{name}{commit}"
    if tango.is_tango(folder):
        return _open_tango(folder, dtype, tokenizers, source, progress)
    checkpoint = hub.load(
        folder,
        convention=convention,
        source=source,
        without=("audiomae",),
        only=(),
        variant=variant,
    )

    def read(part: str) -> dict:
        config = getattr(checkpoint.config, part)
        return hub.load_part(folder, part, config, part_dtype(part, dtype), variant)

    def identity(part: str) -> list | None:
        config = getattr(checkpoint.config, part)
        try:
            stamps = caching.stamps(hub.part_folders(folder, part, config))
        except OSError:
            return None
        return [stamps, repr(config), variant]

    return _Files(checkpoint, read, identity, progress)


def _open_tango(folder, dtype, tokenizers, source, progress) -> _Files:
    """A checkpoint from TANGO's folder."""
    checkpoint = tango.load(folder, tokenizers=tokenizers, source=source, only=())

    def read(part: str) -> dict:
        return tango.load_part(folder, part, getattr(checkpoint.config, part), dtype)

    def identity(part: str) -> list:
        config = getattr(checkpoint.config, part)
        return [caching.stamps([folder]), repr(config)]

    return _Files(checkpoint, read, identity, progress)


def _open_file(path, dtype, tokenizers, progress) -> _Files:
    """A checkpoint from one of the authors' files, read as they read it."""
    source = open_file(user_path(path))
    checkpoint = assemble.load(source, tokenizers=tokenizers, without=("audiomae",), only=())

    def read(part: str) -> dict:
        return assemble.load_part(source, part, getattr(checkpoint.config, part), dtype)

    return _Files(checkpoint, read, lambda part: None, progress)


def _with_lora(opened: _Files, lora, changes: dict, strength: float) -> _Files:
    """The same with low-rank changes added to the parts that they change."""
    parts = parts_of(opened.checkpoint.config)
    if other := next((part for part in changes if part not in parts), None):
        raise InputError(f"lora {lora}: the model has no part {other}; it was made for another one")

    def read(part: str) -> dict:
        params = opened.read(part)
        if part not in changes:
            return params
        return low_rank.merge({part: params}, {part: changes[part]}, strength)[part]

    def identity(part: str) -> list | None:
        return None if part in changes else opened.identity(part)

    source = f"{opened.checkpoint.source} + {lora} x {strength:g}"
    checkpoint = dataclasses.replace(opened.checkpoint, source=source)
    return _Files(checkpoint, read, identity, opened.progress)


def _load_lora(path, strength) -> dict | None:
    """The low-rank changes of a file, read before any weights. Raises InputError."""
    if isinstance(strength, bool) or not (
        isinstance(strength, (int, float)) and abs(strength) <= sys.float_info.max
    ):
        raise InputError(f"lora_strength is {strength}: it must be a number")
    if path is None and strength != 1:
        raise InputError("lora_strength: there is no lora that it could weigh")
    return None if path is None else low_rank.load(path)


def _import_transformers() -> None:
    """Imports transformers without its notice to users who have no torch."""
    if "transformers" not in sys.modules:
        with _environment("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"):
            import transformers  # noqa: F401


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable within the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
