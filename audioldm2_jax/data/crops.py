"""Random crops and their normalisation, as AudioLDM's training reads waveforms.

Reference: AudioLDM's training repository, `random_segment_wav`, `normalize_wav`, `pad_wav`.
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
                if max(wave.max(), -wave.min()) > sounds.SILENT:
                    break
        if not len(wave):
            raise Unreadable("no samples")
        return wave, file.samplerate


def finished(wave: np.ndarray, samples: int) -> np.ndarray:
    """Without offset, its peak at 0.5, cut or padded with zeros at its end.

    wave: [any] -> [samples]. Raises Unreadable for values that are not finite.
    """
    # In one buffer, for these lengths cost more in fresh memory than in arithmetic.
    out, kept = np.zeros(samples, np.float32), min(len(wave), samples)
    mean = wave.mean()
    peak = max(wave.max() - mean, mean - wave.min())
    if not np.isfinite(peak):
        raise Unreadable("broken: it holds values that are not finite")
    np.subtract(wave[:kept], mean, out=out[:kept])
    out[:kept] *= 0.5 / (peak + 1e-8)
    return out


def training_clip(
    data: bytes, seconds: float, sample_rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """What training reads: ([int(seconds * sample_rate)], seconds of sound in it).

    A crop at the file's own rate, then resampled, its first channel, without offset, its peak at
    0.5, padded with zeros. Raises Unreadable.
    """
    wave, rate = crop(data, seconds, rng)
    wave, samples = resample(wave[:, 0], rate, sample_rate), int(seconds * sample_rate)
    return finished(wave, samples), min(len(wave), samples) / sample_rate
