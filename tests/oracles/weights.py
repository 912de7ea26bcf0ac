"""Weights and inputs that anyone can draw again from a tensor's name: no file needs to be kept."""

from __future__ import annotations

import zlib

import numpy as np


def draw(name: str, shape) -> np.ndarray:
    """Unit normal numbers, the same for the same name and shape everywhere."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)


def weight(name: str, shape) -> np.ndarray:
    """A weight that keeps activations near one, by what its name says it is."""
    # T5's two embeddings are one.
    name = name.replace("encoder.embed_tokens", "shared")
    values, last = draw(name, shape), name.rsplit(".", 1)[-1]
    if last == "running_var":
        return 0.5 + np.abs(values)
    if last in ("running_mean", "scale_factor", "learnable_positional_embedding"):
        return np.abs(values) if last == "scale_factor" else values
    if last in ("weight_g", "original0"):
        return 1 + 0.1 * values
    if len(shape) < 2:
        return 0.1 * values + (1.0 if last in ("weight", "gamma") else 0.0)
    if any(word in name for word in ("embeddings", "wte", "wpe", "shared", "_tokens", "pos_embed")):
        return values
    if "model.h." in name:  # GPT-2 keeps [in, out]
        return values * shape[0] ** -0.5
    if ".ups." in name or name.startswith("ups."):
        return values * (2 * shape[0]) ** -0.5
    return values * np.prod(shape[1:]) ** -0.5


def sample(array, count: int = 48) -> list[float]:
    """Numbers spread over an array, with which another is compared."""
    flat = np.asarray(array, np.float64).ravel()
    return flat[:: max(1, flat.size // count)][:count].tolist()
