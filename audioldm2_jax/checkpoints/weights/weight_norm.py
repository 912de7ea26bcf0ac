"""Weight norm (arXiv 1602.07868): tensors that a file holds as a direction and a length."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from audioldm2_jax.checkpoints.weights.base import Weights
from audioldm2_jax.errors import InputError

# {ending of a direction's name: of its length's}: torch's old form and its present one.
_ENDINGS = {
    "weight_v": "weight_g",
    "parametrizations.weight.original1": "parametrizations.weight.original0",
}
_DIRECTION = re.compile(rf"(.+\.)({'|'.join(map(re.escape, _ENDINGS))})")


def fold_weight_norm(content: Weights, where: str) -> Weights:
    """The tensors, with one `weight` for each direction and its length; others as they are.

    where: the file, for messages. Raises InputError for a direction without its length.
    """
    readers, lengths = {}, set()
    for name in content:
        match = _DIRECTION.fullmatch(name)
        if match is None:
            continue
        length = match[1] + _ENDINGS[match[2]]
        if length not in content:
            raise InputError(f"{where}: tensor {length} is missing")
        shapes = content.shape(name), content.shape(length)
        if len(shapes[0]) != len(shapes[1]) or any(n not in (1, m) for m, n in zip(*shapes)):
            raise InputError(f"{where}: tensor {length} has shape {shapes[1]}, {name} {shapes[0]}")
        readers[f"{match[1]}weight"] = _Normed(content, name, length)
        lengths.update((name, length))
    plain = content.renamed({name: name for name in content if name not in lengths})
    return plain | Weights(readers)


def unfold_weight_norm(state: Mapping, names: str, axis: int = 0) -> dict[str, np.ndarray]:
    """The inverse of `fold_weight_norm`, in torch's present form, of the weights whose name fits.

    names: a regular expression of whole names. axis: that of a weight's lengths. A weight is its
    own direction.
    """
    unfolded = {}
    for name, value in state.items():
        if not re.fullmatch(names, name):
            unfolded[name] = value
            continue
        stem = f"{name.removesuffix('weight')}parametrizations.weight"
        others = tuple(i for i in range(value.ndim) if i != axis)
        unfolded[f"{stem}.original0"] = np.sqrt(np.square(value).sum(others, keepdims=True))
        unfolded[f"{stem}.original1"] = value
    return unfolded


class _Normed:
    """A reader of length * direction / |direction|, the norm over the axes that a length spans."""

    def __init__(self, content: Weights, direction: str, length: str):
        self.content, self.direction, self.length = content, direction, length
        self.shape = content.shape(direction)

    def read(self) -> np.ndarray:
        direction = self.content[self.direction].astype(np.float32)
        length = self.content[self.length].astype(np.float32)
        axes = tuple(axis for axis, size in enumerate(length.shape) if size == 1)
        norm = np.sqrt(np.square(direction).sum(axes, keepdims=True))
        return direction * (length / norm)
