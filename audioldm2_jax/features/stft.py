"""The short-time Fourier transform and its inverse, as pure functions for any device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def stft(audio, size: int, hop: int, pad: int) -> jax.Array:
    """Short-time Fourier transform: audio [B, samples] -> complex [B, frames, size / 2 + 1].

    Windows are periodic Hann. pad: samples by which both ends are reflected.
    """
    audio = jnp.pad(jnp.asarray(audio, jnp.float32), ((0, 0), (pad, pad)), mode="reflect")
    frames = frames_of(audio, size, hop, (audio.shape[1] - size) // hop + 1)
    return jnp.fft.rfft(frames * hann(size))


def inverse_stft(spectrum, size: int, hop: int, pad: int) -> jax.Array:
    """The audio whose `stft` is nearest to a spectrum, in least squares.

    spectrum: complex [B, frames, size / 2 + 1] -> [B, (frames - 1) * hop + size - 2 pad] (Griffin
    and Lim 1984, equation 6).
    """
    window, count = hann(size), spectrum.shape[1]
    weights = _overlap_add(np.broadcast_to(np.square(window), (1, count, size)), hop)
    audio = _overlap_add(jnp.fft.irfft(spectrum, size) * window, hop)
    end = (count - 1) * hop + size - pad
    return (audio / jnp.maximum(weights, 1e-3))[:, pad:end]


def _overlap_add(frames, hop: int) -> jax.Array:
    """Overlap-add: frames [B, count, size] -> [B, (count - 1) * hop + size, or a few more]."""
    batch, count, size = frames.shape
    steps = -(-size // hop)
    pieces = jnp.pad(frames, ((0, 0), (0, 0), (0, steps * hop - size)))
    pieces = pieces.reshape(batch, count, steps, hop)
    total = sum(
        jnp.pad(pieces[:, :, i], ((0, 0), (i, steps - 1 - i), (0, 0))) for i in range(steps)
    )
    return total.reshape(batch, -1)


def frames_of(audio, size: int, hop: int, count: int):
    """Frames that begin `hop` samples apart: [B, samples] -> [B, count, size]."""
    return audio[:, np.arange(count)[:, None] * hop + np.arange(size)]


def hann(size: int) -> np.ndarray:
    """A periodic Hann window: [size], fp32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
