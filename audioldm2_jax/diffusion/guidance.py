"""Classifier-free guidance (arXiv 2207.12598) as a wrapper of the denoiser."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp


def guided(denoise: Callable, scale) -> Callable:
    """Turns a denoiser of [unconditional, conditional] pairs into a guided one of single samples.

    denoise takes x [2 B, T, F, C], unconditional half first; the result takes [B, T, F, C].
    """

    def both(x, index):
        prediction = denoise(jnp.concatenate([x, x]), index)
        without, within = jnp.split(prediction.astype(jnp.float32), 2)
        return without + scale * (within - without)

    return both
