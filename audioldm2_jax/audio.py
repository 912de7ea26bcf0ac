"""Resampling and sound files. Audio is float32 in [-1, 1]."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.errors import InputError


def resample(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    """Band-limited resampling (soxr, high quality). audio: [..., samples]; rates in Hz."""
    if source == target:
        return np.asarray(audio, np.float32)
    import soxr

    audio = np.asarray(audio, np.float32)
    flat = audio.reshape(-1, audio.shape[-1]).T
    return soxr.resample(flat, source, target, quality="HQ").T.reshape(*audio.shape[:-1], -1)


# How each kind of sound file is written: soundfile's container and encoding.
FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


def encode_audio(audio: np.ndarray, sample_rate: int, suffix: str) -> bytes:
    """The content of a sound file: 16-bit WAV or FLAC, Ogg Vorbis, MP3.

    audio: [samples] or [samples, channels].
    suffix: a key of FORMATS, in any case. Raises InputError for another, and for a rate that the
    format does not have.
    """
    import soundfile

    if suffix.lower() not in FORMATS:
        raise InputError(f"{suffix!r} files are not written: choose one of {' '.join(FORMATS)}")
    container, subtype = FORMATS[suffix.lower()]
    audio, file = np.asarray(audio), io.BytesIO()
    if audio.ndim != 1 and not (audio.ndim == 2 and 1 <= audio.shape[1] <= 8):
        axes = "one axis of samples is expected, or one of channels behind it"
        raise InputError(f"sound of shape {audio.shape}: {axes}")
    try:
        soundfile.write(file, audio, sample_rate, format=container, subtype=subtype)
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise InputError(f"{container} at {sample_rate} Hz cannot be written ({error})") from None
    return file.getvalue()


def save_audio(path, audio: np.ndarray, sample_rate: int) -> None:
    """Writes 16-bit WAV or what else the suffix says (FORMATS); the file is whole or absent.

    Raises InputError where it cannot be written.
    """
    path = Path(path)
    files.write_bytes(path, encode_audio(audio, sample_rate, path.suffix))
