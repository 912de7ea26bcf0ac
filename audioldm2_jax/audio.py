"""Audio in and out: CLAP's log-mel front end, resampling, sound files. Audio is float32 [-1, 1]."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ClapMelConfig


def resample(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    """Band-limited resampling (soxr, high quality). audio: [..., samples]; rates in Hz."""
    if source == target:
        return np.asarray(audio, np.float32)
    import soxr

    audio = np.asarray(audio, np.float32)
    flat = audio.reshape(-1, audio.shape[-1]).T
    return soxr.resample(flat, source, target, quality="HQ").T.reshape(*audio.shape[:-1], -1)


def fit_clip(audio, config: ClapMelConfig) -> jax.Array:
    """Cuts to the clip's first samples, or repeats whole copies and zero-pads. audio: [B, samples].

    The reference crops longer clips at random; the first samples make scores repeatable.
    """
    length = config.samples
    audio = audio[:, :length]
    if audio.shape[1] < length and config.padding in ("repeat", "repeatpad"):
        copies = length // audio.shape[1] + (config.padding == "repeat")
        audio = jnp.tile(audio, (1, copies))[:, :length]
    return jnp.pad(audio, ((0, 0), (0, length - audio.shape[1])))


def clap_log_mel(audio, config: ClapMelConfig) -> jax.Array:
    """Log-mel in dB as transformers' ClapFeatureExtractor makes it.

    audio: [B, samples] at the config's rate -> [B, 1 + samples // hop, mels]. The filters of models
    with fusion are torchaudio's (HTK scale, no norm), those of the others librosa's (Slaney).
    """
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        config.fft // 2 + 1,
        config.mels,
        config.low,
        config.high,
        config.sample_rate,
        norm=None if config.fusion else "slaney",
        mel_scale="htk" if config.fusion else "slaney",
    ).astype(np.float32)
    frames = 1 + audio.shape[1] // config.hop
    audio = jnp.pad(audio, ((0, 0), (config.fft // 2,) * 2), mode="reflect")
    places = np.arange(frames)[:, None] * config.hop + np.arange(config.fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.fft) / config.fft)
    spectrum = jnp.fft.rfft(audio[:, places] * window.astype(np.float32))
    power = jnp.square(jnp.abs(spectrum))
    mel = jnp.einsum("btk,kf->btf", power, filters, precision=jax.lax.Precision.HIGHEST)
    return 10.0 * jnp.log10(jnp.maximum(mel, 1e-10))


@functools.partial(jax.jit, static_argnums=1)
def _log_mel(audio, config):
    return clap_log_mel(audio, config)


def clap_images(audio: np.ndarray, config: ClapMelConfig) -> tuple[np.ndarray, bool]:
    """One clip as CLAP's audio tower takes it, and whether its local crops count.

    audio: [samples] -> [T, F]; with fusion [4, T, F]: a longer clip shrunk to T frames, and crops
    from the middle of each third; four times the same for others. The reference draws the crops at
    random; fixed ones make scores repeatable.
    """
    audio = np.asarray(audio, np.float32)[None]
    if not config.fusion:
        return np.asarray(_log_mel(fit_clip(audio, config), config)[0]), False
    frames = config.samples // config.hop + 1
    longer = audio.shape[1] > config.samples
    mel = np.asarray(_log_mel(audio if longer else fit_clip(audio, config), config)[0])
    if len(mel) == frames:
        return np.stack([mel] * 4), False
    return fused_images(mel, frames), True


def fused_images(mel: np.ndarray, frames: int, starts: list[int] | None = None) -> np.ndarray:
    """[T, F] longer than `frames` -> [4, frames, F]: shrunk, and three crops.

    starts: the crops' first frames; None is the middle of each third of the places they can take.
    """
    if starts is None:
        thirds = np.array_split(np.arange(len(mel) - frames + 1), 3)
        starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    # Bilinear, corners not aligned: each frame at the middle of its share of the clip.
    place = np.clip((np.arange(frames) + 0.5) * len(mel) / frames - 0.5, 0, len(mel) - 1)
    low = np.floor(place).astype(int)
    high, part = np.minimum(low + 1, len(mel) - 1), (place - low)[:, None].astype(mel.dtype)
    shrunk = mel[low] * (1 - part) + mel[high] * part
    return np.stack([shrunk, *(mel[s : s + frames] for s in starts)])


# How each kind of sound file is written: soundfile's container and encoding.
FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


def encoded(audio: np.ndarray, sample_rate: int, suffix: str) -> bytes:
    """The content of a sound file: 16-bit WAV or FLAC, Ogg Vorbis, MP3. audio: [samples].

    suffix: a key of FORMATS, in any case. Raises InputError for another, and for a rate that the
    format does not have.
    """
    import soundfile

    if suffix.lower() not in FORMATS:
        raise InputError(f"{suffix!r} files are not written: choose one of {' '.join(FORMATS)}")
    container, subtype = FORMATS[suffix.lower()]
    audio, file = np.asarray(audio), io.BytesIO()
    if audio.ndim != 1:
        raise InputError(f"sound of shape {audio.shape}: one axis of samples is expected")
    try:
        soundfile.write(file, audio, sample_rate, format=container, subtype=subtype)
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise InputError(f"{container} at {sample_rate} Hz cannot be written ({error})") from None
    return file.getvalue()


def save_wav(path, audio: np.ndarray, sample_rate: int) -> None:
    """Writes 16-bit WAV or what else the suffix says (FORMATS); the file is whole or absent.

    Raises InputError where it cannot be written.
    """
    path = Path(path)
    files.write_bytes(path, encoded(audio, sample_rate, path.suffix))
