"""VGGish's front end (arXiv 1609.09430): log-mels of 0.96 s at 16 kHz."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from audioldm2_jax.features.kaldi import kaldi_filters
from audioldm2_jax.features.stft import frames_of, hann

SAMPLE_RATE, WINDOW, HOP, FFT = 16000, 400, 160, 512
FRAMES, MELS = 96, 64
PATCH = WINDOW + (FRAMES - 1) * HOP  # samples


def vggish_log_mel(audio) -> jax.Array:
    """Log-mels of patches: audio [B, PATCH] -> [B, FRAMES, MELS].

    As of vggish_input.py and mel_features.py in tensorflow/models: magnitudes, 64 triangles in
    mels from 125 to 7500 Hz, and an offset of 0.01 inside the logarithm.
    """
    frames = frames_of(jnp.asarray(audio, jnp.float32), WINDOW, HOP, FRAMES)
    magnitude = jnp.abs(jnp.fft.rfft(frames * hann(WINDOW), FFT))
    bank = kaldi_filters(MELS, FFT, SAMPLE_RATE, 125.0, 7500.0)
    mel = jnp.einsum("btk,kf->btf", magnitude, bank, precision=jax.lax.Precision.HIGHEST)
    return jnp.log(mel + 0.01)
