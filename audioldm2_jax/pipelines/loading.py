"""From a model's name to its configuration, and from there to a checkpoint in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from audioldm2_jax.checkpoints import download, hub, registry
from audioldm2_jax.checkpoints import lora as low_rank
from audioldm2_jax.checkpoints.authors import files
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import cannot, user_path
from audioldm2_jax.pipelines.memory import check_model, prepack_in_place
from audioldm2_jax.pipelines.runner import timed_message
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
    official_file = name in registry.OFFICIAL_FILES
    local = not official_file and _is_local(name)
    if revision and local:
        raise InputError(f"revision {revision}: {model} is on this machine; leave revision out")
    is_file = official_file or (
        local and name not in download.bundled() and user_path(name).is_file()
    )
    if is_file and variant is not None:
        raise InputError(f"variant {variant}: {model} is a file, which has no variants")
    if is_file and convention != "authors":
        raise InputError(f"{name}: an authors' file is read as they do; convert it for diffusers")
    if not is_file and tokenizers is not None:
        raise InputError(f"tokenizers {tokenizers}: are for an authors' file; {model} has its own")
    if name in registry.PUBLISHED and not local:
        config = PRESETS[registry.PUBLISHED[name]]()
    elif is_file:
        config = files.model_config(files.open_file(user_path(name)))
    else:
        folder = download.locate(name, revision=revision, quiet=True, configs_only=True)
        config = hub.read_config(folder, read_as)

    def read(devices):
        if is_file:
            path = registry.resolve(name, revision=revision, quiet=not progress)
            checkpoint = _from_file(path, dtype, tokenizers, devices, progress)
        else:
            checkpoint = _from_folder(name, dtype, convention, revision, variant, devices, progress)
        if changes is None:
            return checkpoint
        params = low_rank.merge(checkpoint.params, changes, lora_strength)
        source = f"{checkpoint.source} + {lora} x {lora_strength:g}"
        return dataclasses.replace(checkpoint, params=params, source=source)

    return OpenCheckpoint(config, read_as, dtype, str(model), read)


def _from_folder(name, dtype, convention, revision, variant, devices, progress):
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
        )


def _from_file(path, dtype, tokenizers, devices, progress):
    """A checkpoint from one of the authors' files, read as they read it."""
    path = user_path(path)
    source = files.open_file(path)
    check_model(files.model_config(source), dtype, str(path), devices)
    with timed_message(f"loading {path}", progress):
        return files.load(source, tokenizers=tokenizers, dtype=dtype, without=("audiomae",))


def _load_lora(path, strength) -> dict | None:
    """The low-rank changes of a file, read before any weights. Raises InputError."""
    if isinstance(strength, bool) or not (
        isinstance(strength, (int, float)) and abs(strength) <= sys.float_info.max
    ):
        raise InputError(f"lora_strength is {strength}: it must be a number")
    if path is None and strength != 1:
        raise InputError("lora_strength: there is no lora that it could weigh")
    return None if path is None else low_rank.load(path)


def _is_local(name: str) -> bool:
    """Whether a folder or a file of this machine is meant. Raises InputError for no path."""
    if name in download.bundled():
        return True
    path = user_path(name)
    try:
        return path.exists()
    except OSError as error:
        raise cannot(path, "read", error) from None


def _import_transformers() -> None:
    """Its first import greets users without torch by a notice, which is not for ours."""
    if "transformers" not in sys.modules:
        with _environment("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"):
            import transformers  # noqa: F401


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """An environment variable with another value within the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
