"""LoRA (arXiv 2106.09685): low-rank changes of kernels, initialised and merged.

A LoRA is a tree {part: ...} with `a` [inputs, rank] and `b` [rank, outputs] in place of each kernel
that changes; a convolution's `a` is [height, width, inputs, rank]. Merging adds `strength * a @ b`.
`lora_files` reads and writes the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.lora_files import load, save  # noqa: F401
from audioldm2_jax.errors import InputError

# Attention and feed-forward layers of the U-Net and GPT-2.
TARGETS = r"(attention|cross)/(query|key|value|out)/kernel$|mlp/(up|gate|down)/kernel$"


def make(params: Mapping[str, dict], rank: int, key, targets: str = TARGETS) -> dict:
    """A new LoRA of all kernels whose path matches `targets`; its change is zero.

    params: {part: tree}. rank: of each change. Raises InputError if no kernel matches.
    """
    change = {}
    for path, kernel in sorted(tree.flatten(dict(params)).items()):
        if kernel.ndim == 2 and re.search(targets, path):
            key, own = jax.random.split(key)
            wide = jax.random.normal(own, (kernel.shape[0], rank)) * kernel.shape[0] ** -0.5
            change |= {f"{path}/a": wide, f"{path}/b": jnp.zeros((rank, kernel.shape[1]))}
    if not change:
        raise InputError(f"lora: no kernel matches {targets!r}")
    return tree.unflatten(change)


def merge(params: Mapping[str, dict], change: dict, strength: float = 1.0) -> dict:
    """Parameters {part: tree} with the LoRA added. Raises InputError if it is of another model."""
    flat, pieces = tree.flatten(dict(params)), tree.flatten(change)
    for name in [name for name in pieces if name.endswith("/a")]:
        path = name.removesuffix("/a")
        a, b = pieces[name], pieces[f"{path}/b"]
        if path not in flat:
            raise InputError(f"lora: the model has no kernel {path}; it was made for another one")
        kernel = flat[path]
        if kernel.shape != (*a.shape[:-1], b.shape[1]) or a.shape[-1] != b.shape[0]:
            shapes = f"{(*a.shape[:-1], b.shape[1])}, the model's is {tuple(kernel.shape)}"
            raise InputError(f"lora: {path} is made for {shapes}")
        delta = (strength * a.astype(jnp.float32)) @ b.astype(jnp.float32)
        flat[path] = (kernel.astype(jnp.float32) + delta).astype(kernel.dtype)
    return tree.unflatten(flat)
