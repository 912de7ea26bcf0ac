"""Kernels as directions and lengths (arXiv 1602.07868), as HiFi-GAN trains; folded to infer."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax import tree


def _axes(path: str, ndim: int) -> tuple[int, ...]:
    """Axes that a length spans: torch's norm keeps outputs, of transposed convolutions inputs."""
    kept = ndim - 2 if "upsample_" in path else ndim - 1
    return tuple(axis for axis in range(ndim) if axis != kept)


def _length(path, kernel):
    return jnp.sqrt(jnp.square(kernel).sum(_axes(path, kernel.ndim), keepdims=True))


def split(params: dict) -> dict:
    """Each `kernel` with its `length` beside; inverse of `fold`."""
    flat = tree.flatten(params)
    for path, value in list(flat.items()):
        if path.endswith("/kernel"):
            flat[path.removesuffix("kernel") + "length"] = _length(path, value)
    return tree.unflatten(flat)


def fold(params: dict) -> dict:
    """Plain kernels."""
    flat = tree.flatten(params)
    for path in [path for path in flat if path.endswith("/length")]:
        name = path.removesuffix("length") + "kernel"
        flat[name] = flat[name] * (flat.pop(path) / _length(name, flat[name]))
    return tree.unflatten(flat)
