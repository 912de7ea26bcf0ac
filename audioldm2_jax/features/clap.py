"""CLAP's front end: log-mel images of clips at 48 kHz (arXiv 2211.06687)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.features.stft import stft
from audioldm2_jax.presets import ClapMelConfig


def fit_clip(audio, config: ClapMelConfig) -> jax.Array:
    """Audio of exactly the configured length. audio: [B, samples] -> [B, config.samples].

    Longer clips are cut to their first samples: the reference crops at random, and scores would
    not be repeatable. Shorter ones are repeated and zero-padded as `config.padding` says. NumPy
    arrays stay such, without a compilation for each length.
    """
    xp, length = (np if isinstance(audio, np.ndarray) else jnp), config.samples
    audio = audio[:, :length]
    if audio.shape[1] < length and config.padding in ("repeat", "repeatpad"):
        copies = length // audio.shape[1] + (config.padding == "repeat")
        audio = xp.tile(audio, (1, copies))[:, :length]
    return xp.pad(audio, ((0, 0), (0, length - audio.shape[1])))


def fit_padded(audio, length, config: ClapMelConfig) -> jax.Array:
    """`fit_clip` of clips whose length is an argument of the program.

    audio: [B, samples], of which the first `length` count, a traced scalar; the others are read
    where the clip is longer than the configuration's -> [B, config.samples].
    """
    slots, copies = jnp.arange(config.samples), 1
    if config.padding in ("repeat", "repeatpad"):
        copies = jnp.maximum(config.samples // length + (config.padding == "repeat"), 1)
    return jnp.where(slots < copies * length, audio[:, slots % length], 0)


def clap_log_mel(audio, config: ClapMelConfig) -> jax.Array:
    """Log-mel in dB, as of transformers' ClapFeatureExtractor.

    audio: [B, samples] at the config's rate -> [B, 1 + samples // hop, mels]. The filters of models
    with fusion are torchaudio's (HTK scale, no norm), those of the others librosa's (Slaney).
    """
    pad = config.fft // 2
    audio = jnp.pad(jnp.asarray(audio, jnp.float32), ((0, 0), (pad, pad)), mode="reflect")
    return framed_clap_log_mel(audio, config)


def framed_clap_log_mel(audio, config: ClapMelConfig) -> jax.Array:
    """`clap_log_mel` of audio whose ends are reflected already.

    audio: [B, samples] -> [B, 1 + (samples - fft) // hop, mels].
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
    power = jnp.square(jnp.abs(stft(audio, config.fft, config.hop, 0)))
    mel = jnp.einsum("btk,kf->btf", power, filters, precision=jax.lax.Precision.HIGHEST)
    return 10.0 * jnp.log10(jnp.maximum(mel, 1e-10))


def clap_images(audio, config: ClapMelConfig) -> tuple[jax.Array, bool]:
    """The input of CLAP's audio tower for clips, and whether their local crops count.

    audio: [B, samples] -> [B, T, F], or with fusion [B, 4, T, F]. For clips longer than the
    configuration's these are the clip resized to T frames and a crop of each third, else four equal
    images. The reference draws the crops at random; fixed ones make scores repeatable.
    """
    if not config.fusion:
        return clap_log_mel(fit_clip(audio, config), config), False
    frames = config.samples // config.hop + 1
    longer = audio.shape[1] > config.samples
    mel = clap_log_mel(audio if longer else fit_clip(audio, config), config)
    if mel.shape[1] == frames:
        return jnp.stack([mel] * 4, 1), False
    return fused_images(mel, frames), True


def fused_images(mel, frames: int, starts: list[int] | None = None):
    """Log-mels [..., T, F] longer than `frames`, resized, and three crops: [..., 4, frames, F].

    starts: the crops' first frames; None is the middle of each third of the possible ones. NumPy
    arrays stay such.
    """
    xp, length = (np if isinstance(mel, np.ndarray) else jnp), mel.shape[-2]
    if starts is None:
        thirds = np.array_split(np.arange(length - frames + 1), 3)
        starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    # Bilinear, corners not aligned: each frame is in the middle of its part of the clip.
    position = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    low = np.floor(position).astype(int)
    high, part = np.minimum(low + 1, length - 1), (position - low)[:, None].astype(mel.dtype)
    resized = mel[..., low, :] * (1 - part) + mel[..., high, :] * part
    return xp.stack([resized, *(mel[..., s : s + frames, :] for s in starts)], -3)
