"""Weight files as tensors by name: safetensors and torch's archives, whole or in shards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.checkpoints.safetensors_files import (
    MAX_TENSORS,
    read_safetensors,
    write_safetensors,
)
from audioldm2_jax.errors import InputError, note


class Weights(Mapping):
    """Tensors by name, read from disk one by one when asked for.

    readers: objects with a `shape` and a method `read`. metadata: texts beside the tensors.
    """

    def __init__(self, readers: dict, metadata: Mapping[str, str] | None = None):
        self._readers = readers
        self.metadata = dict(metadata or {})

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name].read()

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return tuple(self._readers[name].shape)

    def renamed(self, names: Mapping[str, str]) -> Weights:
        """The tensors that `names` lists, {name here: name in the result}."""
        return Weights({new: self._readers[old] for old, new in names.items()}, self.metadata)

    def __or__(self, other: Weights) -> Weights:
        return Weights(self._readers | other._readers, self.metadata | other.metadata)

    def __contains__(self, name) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class Known:
    """A tensor in memory, as a reader."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def read(self) -> np.ndarray:
        return self.array


_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
# Safetensors before torch's.
_KINDS = ("safetensors", "bin", "ckpt", "pth", "pt")
_MAX_NAME = 500
# What wrappers of training put before names, or into them.
_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_forward_module|_fsdp_wrapped_module|"
                       r"_checkpoint_wrapped_module)\.")  # fmt: skip


def find(folder: Path, variant: str | None = None) -> Path:
    """The weight file (or shard index) of a part's folder; safetensors before torch's.

    variant: such as "fp16" of `model.fp16.safetensors`; the folder's plain file is taken where it
    has no such variant, and where a variant is all there is, that one. Raises InputError for a
    folder without weights, or with several variants and none named.
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
    """{variant: its file}, None for the plain one."""
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
    """(variant, place in the order of choice) of a weight file's name; None for other files."""
    for place, kind in enumerate(_KINDS):
        for order, stem in enumerate(_STEMS):
            plain = re.fullmatch(rf"{stem}(?:\.([\w-]+))?\.{kind}", name)
            if plain and not re.search(r"-\d+-of-\d+$", plain[1] or ""):
                return plain[1], place, 0, order
            index = re.fullmatch(rf"{stem}\.{kind}\.index(?:\.([\w-]+))?\.json", name)
            if index:
                return index[1], place, 1, order
    return None


def read(path: Path, choice: str = "auto") -> Weights:
    """Opens a weight file or a shard index.

    choice: see `torch_files.read_torch`. Raises InputError for a file that is damaged, asks for
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
        checked_names(slices, path)
        return Weights(slices, metadata)
    from audioldm2_jax.checkpoints.torch_files import read_torch

    return read_torch(path, choice)


def checked_names(names, path: Path) -> None:
    """Raises InputError for names that no model's tensors have, or too many of them."""
    if len(names) > MAX_TENSORS:
        raise InputError(f"{path}: holds {len(names)} tensors, more than any model")
    for name in names:
        if not name.isprintable() or len(name) > _MAX_NAME:
            raise InputError(f"{path}: {name!r:.80} is no name of a tensor")


def unwrapped(weights: Weights, known: Callable[[str], bool]) -> Weights:
    """The tensors without what training wrapped their names in.

    Wrappers' own names (`_orig_mod.` ...) go wherever they stand; a prefix that all names share
    (`module.`, `model.` ...) goes up to where the names are `known`.
    """
    names = {name: _WRAPPERS.sub("", name) for name in weights}
    if len(set(names.values())) == len(names):
        shared = _shared(list(names.values()))[:4]
        some = list(names.values())[:: 1 + len(names) // 500]
        for count in range(len(shared) + 1):
            prefix = "".join(f"{part}." for part in shared[:count])
            if any(known(new.removeprefix(prefix)) for new in some):
                if not prefix and all(old == new for old, new in names.items()):
                    return weights
                return weights.renamed({o: n.removeprefix(prefix) for o, n in names.items()})
    return weights


def _shared(names: list[str]) -> list[str]:
    """The leading parts that all dotted names share, of the last part nothing."""
    if not names:
        return []
    low, high = min(names).split(".")[:-1], max(names).split(".")[:-1]
    count = 0
    while count < min(len(low), len(high)) and low[count] == high[count]:
        count += 1
    return low[:count]


def _read_shards(path: Path) -> Weights:
    """An index's shards together. Raises InputError where they are not what the index says."""
    places = files.read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(s, str) for s in places.values()):
        raise InputError(f"{path}: not a shard index (weight_map is no object of file names)")
    shards: dict[str, list[str]] = {}
    for name, shard in places.items():
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
    checked_names(readers, path)
    return Weights(readers)


def write(path: Path, state: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None):
    """Writes a safetensors file as torch libraries expect it, whole or not at all.

    Raises InputError where it cannot be written.
    """
    with files.atomic_file(path) as temporary:
        write_safetensors(temporary, state, {"format": "pt"} | (metadata or {}))
