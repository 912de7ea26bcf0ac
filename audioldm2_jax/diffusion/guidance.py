"""Classifier-free guidance (arXiv 2207.12598) as a wrapper of the denoiser."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def interleave(uncond, cond) -> jax.Array:
    """[B, ...] and [B, ...] -> [2 B, ...]: clip 0 uncond, clip 0 cond, clip 1 uncond, ...

    A clip's pair stays together, so a mesh that splits clips moves nothing between devices.
    """
    return jnp.stack([uncond, cond], 1).reshape(-1, *cond.shape[1:])


def cfg_denoise(denoise: Callable, scale) -> Callable:
    """Turns a denoiser of (uncond, cond) pairs into a guided one: uncond + scale (cond - uncond).

    denoise(x, index) takes x [2 B, T, F, C] as `interleave` orders it; the result takes
    [B, T, F, C]. scale: a scalar, [B] for each clip, or [E, B] or [E, 1] for each evaluation
    `index` as well (guidance intervals, arXiv 2404.07724).
    """
    scale = jnp.asarray(scale, jnp.float32)

    def guided(x, index):
        pairs = denoise(interleave(x, x), index).astype(jnp.float32)
        pairs = pairs.reshape(x.shape[0], 2, *pairs.shape[1:])
        uncond, cond = pairs[:, 0], pairs[:, 1]
        now = scale[index] if scale.ndim == 2 else scale
        return uncond + now.reshape(-1, *(1,) * (x.ndim - 1)) * (cond - uncond)

    return guided
