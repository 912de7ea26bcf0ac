"""Backbones by name, opened with the weights that a user names or that the cache folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones import weights as published
from audioldm2_jax.evaluation.backbones.base import Backbone
from audioldm2_jax.evaluation.backbones.clap import CLAP
from audioldm2_jax.evaluation.backbones.musicnn import MusicNN, installed
from audioldm2_jax.evaluation.backbones.panns import PANNs
from audioldm2_jax.evaluation.backbones.vggish import VGGish

if TYPE_CHECKING:
    from audioldm2_jax.evaluation.protocol import BackboneSpec


BACKBONES: dict[str, Callable[[Path, BackboneSpec], Backbone]] = {
    "panns": lambda path, spec: PANNs(path),
    "vggish": lambda path, spec: VGGish(path, spec.hop_seconds),
    "clap": lambda path, spec: CLAP(path),
    "musicnn": lambda path, spec: MusicNN(path, spec.weights),
}


def open_backbone(spec: BackboneSpec, weights: Path | None = None) -> Backbone:
    """A backbone of a protocol.

    weights: a file or folder; None looks for the published one, in the installed package of MusicNN
    and in the cache folder (`weights.find`). Raises InputError
    for weights that are missing, damaged, of another network, or of another sample rate.
    """
    if spec.name not in BACKBONES:
        raise InputError(f"backbone {spec.name!r}: choose one of {' '.join(BACKBONES)}")
    path = _published(spec) if weights is None else files.user_path(weights)
    backbone = BACKBONES[spec.name](path, spec)
    if backbone.sample_rate != spec.sample_rate:
        raise InputError(
            f"{path}: a network for {backbone.sample_rate} Hz; the protocol has {spec.name} at "
            f"{spec.sample_rate} Hz"
        )
    return backbone


def _published(spec: BackboneSpec) -> Path:
    if spec.name == "musicnn" and (folder := installed()):
        return folder
    return published.find(spec.name, spec.weights)
