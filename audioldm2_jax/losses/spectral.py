"""Multi-resolution STFT loss (Parallel WaveGAN, arXiv 1910.11480, section 2.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.features.stft import stft

FFT_SIZES = (512, 1024, 2048)
_TINY = 1e-7  # least power, under the root


def stft_magnitude(waveform, fft_size: int) -> jax.Array:
    """[B, samples] -> [B, frames, fft_size / 2 + 1]; Hann windows, a hop of a quarter."""
    spectrum = stft(waveform, fft_size, fft_size // 4, fft_size // 2)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return jnp.sqrt(jnp.maximum(power, _TINY))


def multi_resolution_stft(fake, real, fft_sizes: tuple[int, ...] = FFT_SIZES) -> jax.Array:
    """Spectral convergence plus L1 distance of log magnitudes, mean over `fft_sizes`.

    fake, real: [B, samples], longer than half of the largest size. The convergence is of the whole
    batch, as published, since silent clips have none of their own; micro-batches differ by that.
    """
    losses = []
    for size in fft_sizes:
        s_fake, s_real = stft_magnitude(fake, size), stft_magnitude(real, size)
        convergence = jnp.linalg.norm(s_real - s_fake) / jnp.linalg.norm(s_real)
        losses.append(convergence + jnp.abs(jnp.log(s_real) - jnp.log(s_fake)).mean())
    return sum(losses) / len(losses)
