"""Helpers for parameter trees: nested dicts of arrays with '/'-joined paths."""

from __future__ import annotations

import hashlib
import math

import jax
import numpy as np


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested dicts to {path: leaf}."""
    flat = {}
    for name, value in tree.items():
        path = f"{prefix}/{name}" if prefix else name
        flat |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return flat


def unflatten(flat: dict) -> dict:
    """Inverse of `flatten`."""
    tree: dict = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def nbytes(tree) -> int:
    """Bytes of a tree of arrays or of their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def count(tree) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def fingerprint(params: dict) -> str:
    """Identifies parameters by a sample of each tensor."""
    digest = hashlib.sha256()
    for path, value in sorted(flatten(params).items()):
        sample = np.asarray(value.reshape(-1)[:64], np.float32)
        digest.update(f"{path} {value.shape}".encode() + sample.tobytes())
    return digest.hexdigest()[:16]
