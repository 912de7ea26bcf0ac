"""Kernels as directions and lengths (arXiv 1602.07868), as HiFi-GAN trains; merged to infer."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax import tree


def _axes(path: str, ndim: int) -> tuple[int, ...]:
    """Axes that a length spans: torch's norm keeps outputs, of transposed convolutions inputs."""
    free = ndim - 2 if "upsample_" in path else ndim - 1
    return tuple(axis for axis in range(ndim) if axis != free)


def _length(path, kernel):
    return jnp.sqrt(jnp.square(kernel).sum(_axes(path, kernel.ndim), keepdims=True))


def unmerge(params: dict) -> dict:
    """Each `kernel` with its `length` beside; inverse of `merge`."""
    flat = tree.flatten(params)
    for path, value in list(flat.items()):
        if path.endswith("/kernel"):
            flat[path.removesuffix("kernel") + "length"] = _length(path, value)
    return tree.unflatten(flat)


def merge(params: dict) -> dict:
    """Plain kernels."""
    flat = tree.flatten(params)
    for path in [path for path in flat if path.endswith("/length")]:
        name = path.removesuffix("length") + "kernel"
        flat[name] = flat[name] * (flat.pop(path) / _length(name, flat[name]))
    return tree.unflatten(flat)
