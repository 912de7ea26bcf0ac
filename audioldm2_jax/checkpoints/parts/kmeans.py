"""k-means centroids with the statistics that features are standardised by, in our own layout."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import DEPTH, Entries
from audioldm2_jax.checkpoints.convert import PLAIN, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles
from audioldm2_jax.models.kmeans import KMeans
from audioldm2_jax.presets import KMeansConfig

_ARCHITECTURE = "KMeans"
# Tokens are stored as uint16.
CODEBOOK = 1 << 16


def read_config(files: PartFiles) -> KMeansConfig:
    """Our own config.json, whose entries are the fields of KMeansConfig. Raises InputError."""
    entries = Entries(files.content, files.where)
    return KMeansConfig(
        codebook=entries.integer("codebook", None, high=CODEBOOK),
        width=entries.integer("width", None),
        layer=entries.integer("layer", None, 0, DEPTH),
        frame_rate=entries.integer("frame_rate", None, 1, 1000),
    )


def write_config(config: KMeansConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {"architecture": _ARCHITECTURE} | dataclasses.asdict(config)
    return PartFiles(content, kind=_ARCHITECTURE)


TABLE = Table(tuple(Rule(name, name, PLAIN) for name in ("centroids", "mean", "std")))

PART = Part(
    name="kmeans",
    folder="kmeans",
    classes={_ARCHITECTURE: "audioldm2_jax"},
    weights=TRANSFORMERS_FILE,
    model=KMeans,
    inputs=lambda config: (jnp.zeros((1, 1, config.width)),),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    describes=lambda content: content.get("architecture") == _ARCHITECTURE,
)
