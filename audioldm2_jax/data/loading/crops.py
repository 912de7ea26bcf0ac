"""Random crops and their normalisation, as AudioLDM's training reads waveforms.

Reference: AudioLDM's training repository, `random_segment_wav`, `normalize_wav`, `pad_wav`.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.data.ingest import audio_files
from audioldm2_jax.data.ingest.file_ref import Unreadable

TRIES = 10
_UNKNOWN = 1 << 40  # samples; libsndfile gives 2^63 - 1 where a header states none


def random_crop(data: bytes, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A random piece of an encoded file, at its own rate: ([samples, channels], Hz).

    A piece whose first channel is silent (within 1e-4) is drawn again, at most ten times; shorter
    files come whole. Only the piece is decoded, unless the header states more samples than there
    are: then the piece is drawn out of those that decode. Raises Unreadable.
    """
    with audio_files.open_audio(data) as file:
        length, rate = max(1, int(seconds * file.samplerate)), file.samplerate
        wave = None
        if file.frames < _UNKNOWN:
            wave = _drawn(file, file.frames, length, rng)
    if wave is None:
        with audio_files.open_audio(data) as file:
            total = sum(len(block) for block in file.pieces())
        with audio_files.open_audio(data) as file:
            wave = _drawn(file, total, length, rng)
    if wave is None or not len(wave):
        raise Unreadable("no samples" if wave is not None else audio_files.UNDECODABLE)
    return wave, rate


def _drawn(file: audio_files.Decoder, total: int, length: int, rng) -> np.ndarray | None:
    """A piece of `length` out of `total` samples; None if the file ends within it."""
    if total <= length:
        return file.piece(0, length)
    for _ in range(TRIES):
        start = int(rng.uniform(0, total - length))
        wave = file.piece(start, length)
        if len(wave) < length:
            return None
        # As a prepared file of the first channel alone would be drawn.
        if np.ptp(wave[:, 0]) / 2 > audio_files.SILENCE:
            break
    return wave


def audible_channel(wave: np.ndarray) -> np.ndarray:
    """The first channel, or the first one with sound if that is silent: [samples, channels]."""
    return wave[:, audio_files.first_audible_channel(wave.min(0), wave.max(0))]


def normalise(wave: np.ndarray, samples: int) -> np.ndarray:
    """Without offset, its peak at 0.5, cut or padded with zeros at its end.

    wave: [any] -> [samples]. Raises Unreadable for values that are not finite.
    """
    # In one buffer, for these lengths cost more in fresh memory than in arithmetic.
    out, kept = np.zeros(samples, np.float32), min(len(wave), samples)
    # In double precision: a constant must leave nothing, for what is left is scaled up.
    mean = np.float32(wave.mean(dtype=np.float64))
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

    A crop at the file's own rate, then resampled, its first channel with sound, without offset, its
    peak at 0.5, padded with zeros. Raises Unreadable.
    """
    wave, rate = random_crop(data, seconds, rng)
    wave, samples = audible_channel(wave), int(seconds * sample_rate)
    # Of a few samples at a high rate nothing would be left.
    resampled = resample(wave, rate, sample_rate)
    wave = resampled if len(resampled) else wave[:1]
    return normalise(wave, samples), min(len(wave), samples) / sample_rate
