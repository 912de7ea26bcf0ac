"""From a model's name to a checkpoint in memory; what is wrong is said before weights are read."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator

from audioldm2_jax.checkpoints import download, hub, registry
from audioldm2_jax.checkpoints import lora as low_rank
from audioldm2_jax.checkpoints.authors import assemble
from audioldm2_jax.checkpoints.authors.source import open_file
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import user_path
from audioldm2_jax.pipelines.memory import check_model
from audioldm2_jax.pipelines.run import Note


def load(
    model,
    dtype,
    convention: str,
    *,
    revision,
    variant,
    tokenizers,
    lora,
    lora_strength,
    progress: bool,
) -> hub.Checkpoint:
    """Arguments as of `Pipeline.from_pretrained`, dtype a jnp dtype. Raises InputError."""
    _import_transformers()
    hub.convention_named(convention)
    changes = _load_lora(lora, lora_strength)
    path = registry.resolve(model, revision=revision, quiet=not progress)
    if revision and model not in registry.OFFICIAL_FILES and _is_local(path):
        raise InputError(f"revision {revision}: {model} is on this machine; leave revision out")
    if user_path(path).is_file():
        if variant is not None:
            raise InputError(f"variant {variant}: {model} is a file, which has no variants")
        checkpoint = _from_file(path, dtype, convention, tokenizers, progress)
    elif tokenizers is not None:
        raise InputError(f"tokenizers {tokenizers}: are for an authors' file; {model} has its own")
    else:
        checkpoint = _from_folder(path, dtype, convention, revision, variant, progress)
    if changes is None:
        return checkpoint
    params = low_rank.merge(checkpoint.params, changes, lora_strength)
    source = f"{checkpoint.source} + {lora} x {lora_strength:g}"
    return dataclasses.replace(checkpoint, params=params, source=source)


def _from_folder(name, dtype, convention, revision, variant, progress):
    folder = download.locate(name, revision=revision, quiet=not progress, variant=variant)
    # The hub's cache names a snapshot's folder after its commit.
    commit = f"@{folder.name}" if folder.parent.name == "snapshots" else ""
    source = f"{name}{commit}"
    check_model(hub.read_config(folder, hub.convention_named(convention)), dtype, source)
    with Note(f"loading {source}", progress):
        return hub.load(
            folder,
            convention=convention,
            dtype=dtype,
            source=source,
            without=("audiomae",),
            variant=variant,
        )


def _from_file(path, dtype, convention, tokenizers, progress):
    """A checkpoint from one of the authors' files, read as they read it."""
    if convention != "authors":
        raise InputError(f"{path}: an authors' file is read as they do; convert it for diffusers")
    path = user_path(path)
    source = open_file(path)
    check_model(assemble.model_config(source), dtype, str(path))
    with Note(f"loading {path}", progress):
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


def _is_local(name: str) -> bool:
    return name in download.bundled() or user_path(name).exists()


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
