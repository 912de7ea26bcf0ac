"""Random crops and their normalisation, as in AudioLDM's training.

Reference: AudioLDM's training repository, `random_segment_wav`, `normalize_wav`, `pad_wav`.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.data.ingest import audio_files
from audioldm2_jax.data.ingest.file_ref import Unreadable

MAX_TRIES = 10
_UNKNOWN = 1 << 40  # samples; libsndfile returns 2^63 - 1 where a header states none


def random_crop(data: bytes, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Decodes a random crop of an encoded file at its own rate: ([samples, channels], Hz).

    A crop whose first channel is silent (peak below 1e-4) is drawn again, at most ten times. Files
    shorter than `seconds` are returned whole. Only the crop is decoded, unless the header states
    too many samples: then the crop is drawn from those that decode. Raises Unreadable.
    """
    with audio_files.open_audio(data) as file:
        length, rate = max(1, int(seconds * file.samplerate)), file.samplerate
        wave = None
        if file.frames < _UNKNOWN:
            wave = _draw_crop(file, file.frames, length, rng)
    if wave is None:
        with audio_files.open_audio(data) as file:
            total = sum(len(block) for block in file.blocks())
        with audio_files.open_audio(data) as file:
            wave = _draw_crop(file, total, length, rng)
    if wave is None or not len(wave):
        raise Unreadable("no samples" if wave is not None else audio_files.UNDECODABLE)
    return wave, rate


def _draw_crop(file: audio_files.Decoder, total: int, length: int, rng) -> np.ndarray | None:
    """A crop of `length` of `total` samples; None if the file ends within it."""
    if total <= length:
        return file.read_range(0, length)
    for _ in range(MAX_TRIES):
        start = int(rng.uniform(0, total - length))
        wave = file.read_range(start, length)
        if len(wave) < length:
            return None
        # Files that were prepared as mono hold the first channel: both forms get the same crops.
        if np.ptp(wave[:, 0]) / 2 > audio_files.SILENCE:
            break
    return wave


def audible_channel(wave: np.ndarray) -> np.ndarray:
    """The first audible channel, else the first: [samples, channels] -> [samples]."""
    return wave[:, audio_files.first_audible_channel(wave.min(0), wave.max(0))]


def normalise(wave: np.ndarray, samples: int) -> np.ndarray:
    """Removes the offset, scales the peak to 0.5, and cuts or pads with zeros at the end.

    wave: [any] -> [samples], float32. Raises Unreadable for values that are not finite.
    """
    # One buffer: at these lengths, new memory costs more time than the arithmetic.
    normalised, length = np.zeros(samples, np.float32), min(len(wave), samples)
    # Double precision: the rest of a constant signal would be scaled up.
    mean = np.float32(wave.mean(dtype=np.float64))
    peak = max(wave.max() - mean, mean - wave.min())
    if not np.isfinite(peak):
        raise Unreadable("broken: it holds values that are not finite")
    np.subtract(wave[:length], mean, out=normalised[:length])
    normalised[:length] *= 0.5 / (peak + 1e-8)
    return normalised


def training_clip(
    data: bytes, seconds: float, sample_rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Reads a training clip: (waveform [int(seconds * sample_rate)], seconds that are not padding).

    Draws a crop at the file's own rate and resamples its first audible channel. Then it removes the
    offset, scales the peak to 0.5 and pads with zeros. Raises Unreadable.
    """
    wave, rate = random_crop(data, seconds, rng)
    wave, samples = audible_channel(wave), int(seconds * sample_rate)
    # Resampling leaves nothing of a few samples at a high rate.
    resampled = resample(wave, rate, sample_rate)
    wave = resampled if len(resampled) else wave[:1]
    return normalise(wave, samples), min(len(wave), samples) / sample_rate
