"""Weight files: found in a folder, opened by their kind, whole or in shards, and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.checkpoints.weights.base import Weights, check_names
from audioldm2_jax.checkpoints.weights.safetensors import read_safetensors, write_safetensors
from audioldm2_jax.checkpoints.weights.tensorflow import read_tensorflow
from audioldm2_jax.checkpoints.weights.torch import read_torch
from audioldm2_jax.errors import InputError, note

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
# Safetensors before torch's.
_KINDS = ("safetensors", "bin", "ckpt", "pth", "pt")


def find(folder: Path, variant: str | None = None) -> Path:
    """The weight file (or shard index) of a part's folder; safetensors come before torch's files.

    variant: such as "fp16" of `model.fp16.safetensors`. A folder without it gives its plain file,
    or else its only variant. Raises InputError for a folder without weights, or with several
    variants and none named.
    """
    present = candidates(folder)
    if not present:
        raise InputError(
            f"{folder}: no weights found (model.safetensors or the like); download it again"
        )
    if variant in present:
        return present[variant]
    if None in present:
        return present[None]
    if variant is not None or len(present) > 1:
        names = " ".join(sorted(map(repr, present)))
        raise InputError(
            f"{folder}: its weights are of the variants {names}; choose one by --variant (variant=)"
        )
    ((only, path),) = present.items()
    note(f"{path}: the weights of the variant {only!r} are taken; the folder has no others")
    return path


def candidates(folder: Path) -> dict[str | None, Path]:
    """{variant: its weight file} of a folder; the key None is the plain file."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError:
        return {}
    ranked = {name: rank for name in names if (rank := _rank(name))}
    best: dict[str | None, Path] = {}
    for name in sorted(ranked, key=lambda name: ranked[name][1:]):
        best.setdefault(ranked[name][0], folder / name)
    return best


def _rank(name: str) -> tuple | None:
    """(variant, *sort key of preference) of a weight file's name; None for other files."""
    for kind_rank, kind in enumerate(_KINDS):
        for order, stem in enumerate(_STEMS):
            plain = re.fullmatch(rf"{stem}(?:\.([\w-]+))?\.{kind}", name)
            if plain and not re.search(r"-\d+-of-\d+$", plain[1] or ""):
                return plain[1], kind_rank, 0, order
            index = re.fullmatch(rf"{stem}\.{kind}\.index(?:\.([\w-]+))?\.json", name)
            if index:
                return index[1], kind_rank, 1, order
    return None


def read(path: Path, choice: str = "auto") -> Weights:
    """Opens a weight file, a shard index, or the .index of a TensorFlow checkpoint.

    choice: see `torch.read_torch`. Raises InputError for a file that is damaged, asks for
    code, or holds more tensors than any model.
    """
    path = Path(path)
    if path.name.endswith(".json"):
        return _read_shards(path)
    try:
        ordinary = path.is_file()
    except (OSError, ValueError):
        ordinary = False
    if not ordinary:
        raise InputError(f"{path}: no such file, or no ordinary one")
    if path.suffix == ".safetensors":
        slices, metadata = read_safetensors(path)
        check_names(slices, path)
        return Weights(slices, metadata)
    if path.name.endswith(".index"):
        return read_tensorflow(path)
    return read_torch(path, choice)


def _read_shards(path: Path) -> Weights:
    """All shards of an index. Raises InputError if they are not what the index says."""
    shard_of = files.read_json(path).get("weight_map")
    if not isinstance(shard_of, dict) or not all(isinstance(s, str) for s in shard_of.values()):
        raise InputError(f"{path}: not a shard index (weight_map is no object of file names)")
    shards: dict[str, list[str]] = {}
    for name, shard in shard_of.items():
        shards.setdefault(shard, []).append(name)
    readers = {}
    for shard, names in sorted(shards.items()):
        plain = shard and shard.isprintable() and len(shard) <= 200 and Path(shard).name == shard
        if not plain or shard.endswith(".json"):
            raise InputError(f"{path}: {shard!r:.80} is no name of a shard beside it")
        if not (path.parent / shard).is_file():
            raise InputError(f"{path}: its shard {shard} is missing; fetch it again")
        part = read(path.parent / shard)
        if absent := next((name for name in names if name not in part), None):
            raise InputError(f"{path}: shard {shard} lacks tensor {absent!r:.200}; fetch it again")
        if double := next((name for name in part if name in readers), None):
            raise InputError(f"{path}: tensor {double} lies in two shards")
        readers |= part._readers
    check_names(readers, path)
    return Weights(readers)


def write(path: Path, state: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None):
    """Writes a safetensors file as torch libraries expect it, whole or not at all.

    metadata: texts beside the tensors. Raises InputError if it cannot be written.
    """
    with files.atomic_file(path) as temporary:
        write_safetensors(temporary, state, {"format": "pt"} | (metadata or {}))
