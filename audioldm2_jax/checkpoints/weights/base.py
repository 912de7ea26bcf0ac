"""Tensors by name, read from disk when asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from audioldm2_jax.errors import InputError

# More than any model has.
MAX_TENSORS = 100_000
_MAX_NAME = 500
# What training's wrappers put before names or into them.
_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_forward_module|_fsdp_wrapped_module|"
                       r"_checkpoint_wrapped_module)\.")  # fmt: skip


class Weights(Mapping):
    """A mapping {name: tensor}, where each access reads the tensor from disk.

    readers: {name: object with a `shape` and a method `read`}. metadata: texts beside the tensors.
    """

    def __init__(self, readers: dict, metadata: Mapping[str, str] | None = None):
        self._readers = readers
        self.metadata = dict(metadata or {})

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name].read()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._readers[name].shape)

    def renamed(self, names: Mapping[str, str]) -> Weights:
        """The tensors that `names` lists, as {present name: new name}."""
        return Weights({new: self._readers[old] for old, new in names.items()}, self.metadata)

    def __or__(self, other: Weights) -> Weights:
        return Weights(self._readers | other._readers, self.metadata | other.metadata)

    def __contains__(self, name) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class ArrayReader:
    """A reader of a tensor that is in memory."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def read(self) -> np.ndarray:
        """The tensor's values as a NumPy array."""
        return self.array


def as_weights(tensors: Mapping) -> Weights:
    """The tensors of any mapping {name: array}."""
    if isinstance(tensors, Weights):
        return tensors
    return Weights({name: ArrayReader(array) for name, array in tensors.items()})


def check_names(names, path: Path) -> None:
    """Raises InputError for names that no model's tensors have, or too many of them."""
    if len(names) > MAX_TENSORS:
        raise InputError(f"{path}: holds {len(names)} tensors, more than any model")
    for name in names:
        if not name.isprintable() or len(name) > _MAX_NAME:
            raise InputError(f"{path}: {name!r:.80} is no name of a tensor")


def unwrap(weights: Weights, known: Callable[[str], bool]) -> Weights:
    """The tensors under their names without what training's wrappers added.

    Names of wrappers (`_orig_mod.` ...) are removed wherever they stand. Of a prefix that all names
    share (`module.`, `model.` ...) the fewest parts are removed after which some name is `known`.
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
    """The leading parts that all dotted names share, without their last parts."""
    if not names:
        return []
    low, high = min(names).split(".")[:-1], max(names).split(".")[:-1]
    count = 0
    while count < min(len(low), len(high)) and low[count] == high[count]:
        count += 1
    return low[:count]
