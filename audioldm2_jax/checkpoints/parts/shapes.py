"""Shapes of the tensors in the authors' files, from which configurations are read.

Shapes say nearly all. The rest is fixed in the authors' code: heads of 64 channels in CLAP's text
tower, GPT-2 and AudioMAE; heads of 32 in U-Nets (64 in AudioLDM's L); norms of 32 groups; the
strides of the vocoders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError


class Shapes:
    """Shapes of one part's tensors by name. A missing or empty tensor is an InputError.

    constants: numbers that the file holds beside the parts, such as `scale_factor`.
    """

    def __init__(self, weights: Weights, where: str, constants: Mapping[str, float] | None = None):
        self.weights, self.where = weights, where
        self.constants = dict(constants or {})

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self.weights:
            raise InputError(f"{self.where}: tensor {name} is missing")
        shape = self.weights.shape(name)
        if not shape or 0 in shape:
            raise InputError(f"{self.where}: tensor {name} has shape {shape}, which is no model's")
        return shape

    def of_rank(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor with so many axes. Raises InputError for another."""
        shape = self[name]
        if len(shape) != rank:
            raise InputError(f"{self.where}: tensor {name} has shape {shape}, not {rank} axes")
        return shape

    def __contains__(self, name: str) -> bool:
        return name in self.weights

    def count(self, pattern: str) -> int:
        """One more than the largest number at {} in names that start with the pattern."""
        start = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)"))
        numbers = {int(m.group(1)) for name in self.weights if (m := start.match(name))}
        return max(numbers) + 1 if numbers else 0

    def heads(self, width: int, size: int) -> int:
        """Number of heads of `size` channels. Raises InputError if they do not fill the width."""
        if width % size:
            raise InputError(f"{self.where}: width {width} is no multiple of a head's {size}")
        return width // size
