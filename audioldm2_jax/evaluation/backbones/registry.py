"""Backbones by name, opened with the weights that a user names or that the cache folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones import weights as published
from audioldm2_jax.evaluation.backbones.base import Backbone
from audioldm2_jax.evaluation.backbones.panns import PANNs

if TYPE_CHECKING:
    from audioldm2_jax.evaluation.protocol import BackboneSpec


def _panns(path: Path, spec: BackboneSpec) -> Backbone:
    return PANNs(path)


BACKBONES: dict[str, Callable[[Path, BackboneSpec], Backbone]] = {"panns": _panns}


def open_backbone(spec: BackboneSpec, weights: Path | None = None) -> Backbone:
    """A backbone of a protocol.

    weights: a file or folder; None looks for the published one (`weights.find`). Raises InputError
    for weights that are missing, damaged, of another network, or of another sample rate.
    """
    if spec.name not in BACKBONES:
        raise InputError(f"backbone {spec.name!r}: choose one of {' '.join(BACKBONES)}")
    path = published.find(spec.name, spec.weights) if weights is None else files.user_path(weights)
    backbone = BACKBONES[spec.name](path, spec)
    if backbone.sample_rate != spec.sample_rate:
        raise InputError(
            f"{path}: a network for {backbone.sample_rate} Hz; the protocol has {spec.name} at "
            f"{spec.sample_rate} Hz"
        )
    return backbone
