"""A model's parts in the order in which sampling needs them, and parts that are read in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from audioldm2_jax import tree

# What samples a clip, one after another; each needs no weights of the others.
STAGES = {
    "text encoders": ("clap", "t5", "phonemes", "projection", "gpt2"),
    "U-Net": ("unet",),
    "decoders": ("vae", "vocoder"),
}


class PartsInTurn(Mapping):
    """Parameters by part, read whenever one is asked for, and kept by nobody else.

    shapes: {part: tree of shapes} of what `read(name)` returns.
    """

    def __init__(self, shapes: Mapping[str, Any], read: Callable[[str], dict]):
        self.shapes, self._read = dict(shapes), read

    def __getitem__(self, name: str) -> dict:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def replaced(self, parts: Mapping[str, dict]) -> PartsInTurn:
        """The same with other parameters of some parts, which stay in memory."""

        def read(name: str) -> dict:
            return parts[name] if name in parts else self._read(name)

        return PartsInTurn(self.shapes | shapes_of(parts), read)


def in_turn(params: Mapping[str, dict]) -> PartsInTurn:
    """Parameters as parts in turn: those that are in memory are handed out as they are."""
    if isinstance(params, PartsInTurn):
        return params
    return PartsInTurn(shapes_of(params), params.__getitem__)


def shapes_of(params: Mapping[str, dict]) -> dict:
    """{part: tree of shapes}."""
    return {
        name: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), part)
        for name, part in params.items()
    }


def stage_parts(params: Mapping[str, Any], stage: str) -> dict:
    """{part: parameters} of one stage, as far as the model has them."""
    return {name: params[name] for name in STAGES[stage] if name in params}


def stage_bytes(shapes: Mapping[str, Any]) -> dict[str, int]:
    """{stage: bytes of its weights}. shapes: by part, arrays or their shapes."""
    return {stage: tree.nbytes(stage_parts(shapes, stage)) for stage in STAGES}
