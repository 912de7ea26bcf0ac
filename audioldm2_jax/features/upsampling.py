"""Upsampling by an integer inside a compiled program, with the filter of `audio.resample`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import audio

# Samples of the source on each side that the filter reads: soxr's is shorter at every factor.
REACH = 128


def upsample(wave, source: int, target: int) -> jax.Array:
    """`audio.resample` for any device. wave: [B, samples] at `source` Hz -> [B, samples * factor].

    target: a multiple of `source`.
    """
    wave, factor = jnp.asarray(wave, jnp.float32), target // source
    assert factor * source == target, (source, target)
    if factor == 1:
        return wave
    phases = jax.lax.conv_general_dilated(
        wave[:, :, None],
        _phases(factor),
        window_strides=(1,),
        padding=((REACH, REACH),),
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return phases.reshape(wave.shape[0], -1)


@functools.cache
def _phases(factor: int) -> np.ndarray:
    """The resampler's answer to an impulse, by phase of the output: [2 * reach + 1, 1, factor]."""
    impulse = np.zeros(4 * REACH + 1, np.float32)
    impulse[2 * REACH] = 1
    answer = audio.resample(impulse, 1000, 1000 * factor).reshape(-1, factor)
    # Output sample n of phase p weighs the source's sample n + k by the answer at -k.
    return np.ascontiguousarray(answer[REACH : 3 * REACH + 1][::-1, None])
