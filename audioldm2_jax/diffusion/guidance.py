"""Classifier-free guidance (arXiv 2207.12598) as a wrapper of the denoiser."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp


def guided(denoise: Callable, scale) -> Callable:
    """Turns a denoiser of [unconditional, conditional] pairs into a guided one of single samples.

    denoise takes x [2 B, T, F, C], unconditional half first; the result takes [B, T, F, C].
    """

    def cfg_denoise(x, index):
        prediction = denoise(jnp.concatenate([x, x]), index)
        uncond, cond = jnp.split(prediction.astype(jnp.float32), 2)
        return uncond + scale * (cond - uncond)

    return cfg_denoise
