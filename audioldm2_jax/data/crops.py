"""Random crops and their normalisation, as AudioLDM's training reads waveforms.

Reference: AudioLDM's training repository, `random_segment_wav`, `normalize_wav` and `pad_wav`.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.data import sounds
from audioldm2_jax.data.places import Unreadable

TRIES = 10


def crop(data: bytes, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A random piece of an encoded file, at its own rate: ([samples, channels], Hz).

    A piece without sound (no value above 1e-4) is drawn again, at most ten times; shorter files
    come whole. Only the piece is decoded. Raises Unreadable.
    """
    with sounds.opened(data) as file:
        length = int(seconds * file.samplerate)
        if file.frames <= length:
            wave = sounds.read(file)
        else:
            for _ in range(TRIES):
                start = int(rng.uniform(0, file.frames - length))
                wave = sounds.read(file, start, length)
                if len(wave) < length:
                    raise Unreadable("broken: it cannot be decoded to its end")
                if np.abs(wave).max() > sounds.SILENT:
                    break
        if not len(wave):
            raise Unreadable("no samples")
        return wave, file.samplerate


def normalised(wave: np.ndarray) -> np.ndarray:
    """Without offset, its peak at 0.5. wave: [samples]."""
    wave = wave - wave.mean()
    return wave / (np.abs(wave).max() + 1e-8) * 0.5


def fitted(wave: np.ndarray, samples: int) -> np.ndarray:
    """Cut or padded with zeros at its end. wave: [samples]."""
    wave = wave[:samples]
    return np.pad(wave, (0, samples - len(wave))).astype(np.float32)


def training_clip(
    data: bytes, seconds: float, sample_rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """What training reads: ([int(seconds * sample_rate)], seconds of sound in it).

    A crop at the file's own rate, then resampled, its first channel, without offset, its peak at
    0.5, padded with zeros. Raises Unreadable.
    """
    wave, rate = crop(data, seconds, rng)
    if not np.isfinite(wave).all():
        raise Unreadable("broken: it holds values that are not finite")
    wave = normalised(resample(wave[:, 0], rate, sample_rate))
    samples = int(seconds * sample_rate)
    return fitted(wave, samples), min(len(wave), samples) / sample_rate
