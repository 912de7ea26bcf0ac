"""Magnitudes at several resolutions (Parallel WaveGAN, arXiv 1910.11480, section 2.2)."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax import features

SIZES = (512, 1024, 2048)
_TINY = 1e-7  # of powers, under the root


def magnitudes(wave, size: int):
    """[B, samples] -> [B, frames, size / 2 + 1]; Hann windows a quarter of `size` apart."""
    found = features.stft(wave, size, size // 4, size // 2)
    power = jnp.square(found.real) + jnp.square(found.imag)
    return jnp.sqrt(jnp.maximum(power, _TINY))


def multi_resolution(made, wave, sizes: tuple[int, ...] = SIZES):
    """Spectral convergence plus the mean distance of logarithms, mean over sizes.

    made, wave: [B, samples], longer than half of the largest size. The convergence is of the batch
    as a whole, as published: silent clips have none of their own. (Micro-batches differ by that.)
    """
    found = []
    for size in sizes:
        fake, real = magnitudes(made, size), magnitudes(wave, size)
        convergence = jnp.linalg.norm(real - fake) / jnp.linalg.norm(real)
        found.append(convergence + jnp.abs(jnp.log(real) - jnp.log(fake)).mean())
    return sum(found) / len(found)
