"""Low-rank changes of kernels (LoRA, arXiv 2106.09685): made, merged, saved as a small file.

The file holds `PART/PATH/a` [inputs, rank] and `b` [rank, outputs] for each changed kernel; merging
adds `strength * a @ b`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import weights
from audioldm2_jax.errors import InputError

# Attention and feed-forward layers of the U-Net and GPT-2.
TARGETS = r"(attention|cross)/(query|key|value|out)/kernel$|mlp/(up|gate|down)/kernel$"


def make(params: Mapping[str, dict], rank: int, key, targets: str = TARGETS) -> dict:
    """Changes of all matching kernels, zero at first: a tree with {a, b} in place of each kernel.

    params: by part. Raises InputError if nothing matches.
    """
    found = {}
    for path, kernel in sorted(tree.flatten(dict(params)).items()):
        if kernel.ndim == 2 and re.search(targets, path):
            key, own = jax.random.split(key)
            wide = jax.random.normal(own, (kernel.shape[0], rank)) * kernel.shape[0] ** -0.5
            found |= {f"{path}/a": wide, f"{path}/b": jnp.zeros((rank, kernel.shape[1]))}
    if not found:
        raise InputError(f"lora: no kernel matches {targets!r}")
    return tree.unflatten(found)


def merge(params: Mapping[str, dict], change: dict, strength: float = 1.0) -> dict:
    """Parameters by part with the change added. Raises InputError if one is not there."""
    flat, pieces = tree.flatten(dict(params)), tree.flatten(change)
    for name in [name for name in pieces if name.endswith("/a")]:
        path = name.removesuffix("/a")
        a, b = pieces[name], pieces[f"{path}/b"]
        if path not in flat:
            raise InputError(f"lora: the model has no kernel {path}; it was made for another one")
        kernel = flat[path]
        if kernel.shape != (a.shape[0], b.shape[1]):
            shapes = f"{(a.shape[0], b.shape[1])}, the model's is {tuple(kernel.shape)}"
            raise InputError(f"lora: {path} is made for {shapes}")
        added = (strength * a.astype(jnp.float32)) @ b.astype(jnp.float32)
        flat[path] = (kernel.astype(jnp.float32) + added).astype(kernel.dtype)
    return tree.unflatten(flat)


def save(change: dict, path) -> None:
    """Writes the file; it is whole or absent."""
    path = Path(path)
    beside = path.with_name(f".{path.name}")
    weights.write(beside, {name: np.asarray(v) for name, v in tree.flatten(change).items()})
    beside.rename(path)


def load(path) -> dict:
    """What `save` wrote. Raises InputError for a file that holds something else."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: no such LoRA file")
    readers = weights.read(path)
    for name in readers:
        kernel, _, which = name.rpartition("/")
        if which not in ("a", "b") or not kernel.endswith("/kernel"):
            raise InputError(f"{path}: {name} is not of a LoRA file of this program")
        if f"{kernel}/{'b' if which == 'a' else 'a'}" not in readers:
            raise InputError(f"{path}: half of {kernel} is missing")
    return tree.unflatten({name: jnp.asarray(value) for name, value in readers.items()})
