"""From a model's name to its configuration, and from there to a checkpoint in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from audioldm2_jax import backend, caching
from audioldm2_jax.checkpoints import download, hub, prepared, registry
from audioldm2_jax.checkpoints import lora as low_rank
from audioldm2_jax.checkpoints.authors import assemble
from audioldm2_jax.checkpoints.authors.source import open_file
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import cannot, user_path
from audioldm2_jax.log import timed_message
from audioldm2_jax.pipelines.memory import check_model, prepack_in_place, prepack_part
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
    _read: Callable[[Sequence | None], hub.Checkpoint]

    def load(self, devices: Sequence | None = None) -> hub.Checkpoint:
        """Reads the weights, which are to lie on each of the devices (None: the default one).

        Their kernels are prepacked one after another, so that few are held in both forms. Raises
        InputError for weights that do not fit, or are not whole.
        """
        checkpoint = self._read(devices)
        prepack_in_place(checkpoint.params, self.dtype)
        return checkpoint


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
    progress: bool = True,
) -> OpenCheckpoint:
    """Reads a checkpoint's configuration; arguments as of `Pipeline.from_pretrained`.

    Of published models it is known, of other repositories of the hub the small files are fetched.
    Raises InputError.
    """
    dtype, read_as = parse_dtype(dtype), hub.convention_named(convention)
    _import_transformers()
    changes = _load_lora(lora, lora_strength)
    name = registry.OFFICIAL_NAMES.get(str(model), str(model))
    kind = _kind(name)
    _check_effect(
        kind, model, convention, revision=revision, variant=variant, tokenizers=tokenizers
    )
    config = _read_config(name, kind, read_as, revision)

    def read(devices):
        if kind.is_file:
            path = registry.resolve(name, revision=revision, quiet=not progress)
            checkpoint = _from_file(path, dtype, tokenizers, devices, progress)
        else:
            options = {"revision": revision, "variant": variant, "progress": progress}
            # Changed weights are merged into plain kernels.
            options["read_part"] = _prepared_part if changes is None else None
            checkpoint = _from_folder(name, dtype, convention, devices, **options)
        if changes is None:
            return checkpoint
        params = low_rank.merge(checkpoint.params, changes, lora_strength)
        source = f"{checkpoint.source} + {lora} x {lora_strength:g}"
        return dataclasses.replace(checkpoint, params=params, source=source)

    return OpenCheckpoint(config, read_as, dtype, str(model), read)


class _Kind(NamedTuple):
    """Whether a checkpoint lies on this machine; whether it is an authors' file, not a folder."""

    is_local: bool
    is_file: bool


def _kind(name: str) -> _Kind:
    """Raises InputError for what is no path."""
    if name in registry.OFFICIAL_FILES:
        return _Kind(is_local=False, is_file=True)
    if name in download.bundled():
        return _Kind(is_local=True, is_file=False)
    path = user_path(name)
    try:
        return _Kind(path.exists(), path.is_file())
    except OSError as error:
        raise cannot(path, "read", error) from None


def _check_effect(kind: _Kind, model, convention: str, *, revision, variant, tokenizers) -> None:
    """Raises InputError for an option that has no effect on the checkpoint."""
    if revision and kind.is_local:
        raise InputError(f"revision {revision}: {model} is on this machine; leave revision out")
    if variant is not None and kind.is_file:
        raise InputError(f"variant {variant}: {model} is a file, which has no variants")
    if convention != "authors" and kind.is_file:
        raise InputError(f"{model}: an authors' file is read as they do; convert it for diffusers")
    if tokenizers is not None and not kind.is_file:
        raise InputError(f"tokenizers {tokenizers}: are for an authors' file; {model} has its own")


def _read_config(name: str, kind: _Kind, convention: Convention, revision) -> ModelConfig:
    if name in registry.PUBLISHED and not kind.is_local:
        return PRESETS[registry.PUBLISHED[name]]()
    if kind.is_file:
        return assemble.model_config(open_file(user_path(name)))
    folder = download.locate(name, revision=revision, quiet=True, configs_only=True)
    return hub.read_config(folder, convention)


def _from_folder(name, dtype, convention, devices, *, revision, variant, progress, read_part):
    folder = download.locate(name, revision=revision, quiet=not progress, variant=variant)
    # The hub's cache names a snapshot's folder after its commit.
    commit = f"@{folder.name}" if folder.parent.name == "snapshots" else ""
    source = f"{name}{commit}"
    check_model(hub.read_config(folder, hub.convention_named(convention)), dtype, source, devices)
    with timed_message(f"loading {source}", progress):
        return hub.load(
            folder,
            convention=convention,
            dtype=dtype,
            source=source,
            without=("audiomae",),
            variant=variant,
            read_part=read_part,
        )


def _prepared_part(folder, name: str, config, dtype, variant: str | None) -> dict:
    """One part's parameters, prepacked; where the backend maps weights, from the package's cache.

    Raises InputError as `hub.load_part` does.
    """

    def read() -> dict:
        params = hub.load_part(folder, name, config, dtype, variant)
        prepack_part(name, params, dtype)
        return params

    if not backend.current().maps_weights:
        return read()
    try:
        stamps = caching.stamps(hub.part_folders(folder, name, config))
    except OSError:
        return read()
    identity = [stamps, repr(config), jnp.dtype(dtype).name, variant]
    return prepared.load_or_make(name, identity, read)


def _from_file(path, dtype, tokenizers, devices, progress):
    """A checkpoint from one of the authors' files, read as they read it."""
    path = user_path(path)
    source = open_file(path)
    check_model(assemble.model_config(source), dtype, str(path), devices)
    with timed_message(f"loading {path}", progress):
        return assemble.load(source, tokenizers=tokenizers, dtype=dtype, without=("audiomae",))


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
