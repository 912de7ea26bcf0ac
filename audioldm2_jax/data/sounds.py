"""Encoded audio in memory: what it is, whether it is whole, a piece of it, another encoding."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.data.places import OTHER_AUDIO, Unreadable

SILENT = 1e-4  # the reference's bound of a crop that is not worth training on


@dataclass(frozen=True)
class Sound:
    """What a file holds; peak is that of all channels."""

    seconds: float
    sample_rate: int
    channels: int
    peak: float


def opened(data: bytes, name: str = ""):
    """A soundfile.SoundFile. Raises Unreadable."""
    import soundfile

    if not data:
        raise Unreadable("empty file")
    try:
        return soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.LibsndfileError, TypeError, RuntimeError):
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in OTHER_AUDIO:
            raise Unreadable(
                f"{suffix} is not decoded here: convert it first (ffmpeg -i in{suffix} out.flac)"
            ) from None
        raise Unreadable("no audio that libsndfile reads") from None


def read(file, start: int = 0, count: int = -1) -> np.ndarray:
    """Samples of an opened file: [samples, channels] fp32. Raises Unreadable."""
    import soundfile

    try:
        if start:
            file.seek(start)
        return file.read(count, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        raise Unreadable("broken: it cannot be decoded to its end") from None


def check(data: bytes, name: str = "") -> Sound:
    """Decodes all of it. Raises Unreadable if it is no audio, cut off, empty, or not finite."""
    with opened(data, name) as file:
        count, peak = 0, 0.0
        while len(block := read(file, count=1 << 18)):
            count, high = count + len(block), float(np.max(np.abs(block)))
            if not np.isfinite(high):
                raise Unreadable("broken: it holds values that are not finite")
            peak = max(peak, high)
        if not count:
            raise Unreadable("no samples")
        # Encoders of MP3 and Opus may promise some samples of padding that are not there.
        if count < file.frames - max(4608, 0.01 * file.frames):
            raise Unreadable("broken: cut off before the length that it states")
        return Sound(count / file.samplerate, file.samplerate, file.channels, peak)


def piece(data: bytes, start: float, stop: float, name: str = "") -> tuple[np.ndarray, int]:
    """Samples from start to stop, in seconds, and their rate. Raises Unreadable."""
    with opened(data, name) as file:
        first = round(start * file.samplerate)
        if first >= file.frames:
            raise Unreadable("broken: shorter than its segments")
        wave = read(file, first, max(1, round((stop - start) * file.samplerate)))
        return wave, file.samplerate


def flac(wave: np.ndarray, sample_rate: int) -> bytes:
    """[samples, channels] as 16-bit FLAC."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1.0, 1.0), sample_rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def converted(wave: np.ndarray, source: int, target: int) -> bytes:
    """The first channel at another rate, as FLAC."""
    return flac(resample(wave[:, 0], source, target)[:, None], target)
