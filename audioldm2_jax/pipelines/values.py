"""Checks of single values: numbers, counts and arrays. Each raises InputError by name."""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ModelConfig


def check_count(name: str, value, lowest: int, highest: int = 2**32 - 1) -> int:
    """An integer from lowest to highest."""
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or not lowest <= value <= highest:
        raise InputError(
            f"{name} is {_short(value)}: it must be an integer from {lowest} to {highest}"
        )
    return int(value)


def check_latents(latents, shape: tuple[int, ...]) -> np.ndarray:
    """Initial noise of a shape [B, T, F, C]."""
    axes = "prompts * candidates, time, mel bins, channels"
    return _array("latents", latents, shape, axes)


def check_loa(loa, config: ModelConfig, prompts: int) -> np.ndarray:
    """A language of audio [P, K, D]; K is free."""
    if config.gpt2 is None:
        raise InputError("loa: this model has no language of audio")
    length = np.shape(loa)[1] if np.ndim(loa) == 3 else config.gpt2.tokens
    return _array("loa", loa, (prompts, length, config.gpt2.width), "prompts, vectors, width")


def check_clap_features(features, config: ModelConfig, prompts: int) -> np.ndarray:
    """CLAP's features [P, D]; their length becomes 1."""
    if config.clap is None or not (config.unet.film or config.gpt2):
        raise InputError("clap_features: this model is not conditioned on CLAP")
    features = _array("clap_features", features, (prompts, config.clap.width), "prompts, width")
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not norms.all():
        raise InputError("clap_features: a row of zeros has no direction")
    return features / norms


def _array(name: str, values, shape: tuple[int, ...], axes: str) -> np.ndarray:
    try:
        values = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{name}: not an array of numbers") from None
    if values.shape != shape:
        raise InputError(
            f"{name}: an array of shape {values.shape}; this request needs {shape} ({axes})"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name}: NaN or infinity in it")
    return values


def number(name: str, value) -> float:
    """The value as a float."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {_short(value)!r}: it must be a number") from None


def _short(value) -> str:
    try:
        return str(value)[:40]
    except ValueError:  # an integer of thousands of digits
        return "too large a number"
