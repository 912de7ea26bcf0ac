"""Log-mel to waveform: HiFi-GAN and, if its configuration says so, fast Griffin-Lim.

A convolutional vocoder maps equal frames to equal samples: of a steady tone it can generate only
multiples of the frame rate (100 Hz), and a small vocoder loses its pitch. Fast Griffin-Lim, started
from the vocoder's phases and noise, has no such limit (measured: benchmarks/nano_phases.py).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.features.mel import MelConfig, mel_config, mel_filters
from audioldm2_jax.features.stft import inverse_stft, stft
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.presets import HiFiGANConfig

MOMENTUM = 0.99  # of fast Griffin-Lim, as its authors choose it
UPDATES = 60  # of the magnitudes; further ones change the mel by less than a VAE's error
TINY = 1e-9


def vocode(config: HiFiGANConfig, params: dict, mel, dtype: Any = jnp.float32) -> jax.Array:
    """mel: [B, T, F], natural logarithm of magnitudes -> waveforms [B, samples], fp32.

    Samples may exceed 1: `audioldm2_jax.loudness` sets the level when sound is written.
    """
    waves = HiFiGAN(config, dtype).apply({"params": params}, mel)
    if not config.griffin_lim:
        return waves
    front = mel_config(config)
    spectrum = magnitudes(mel.astype(jnp.float32), front)
    pad, samples = (front.fft - front.hop) // 2, mel.shape[1] * front.hop
    phases = _phases(stft(waves[:, :samples], front.fft, front.hop, pad))
    # The same noise for every clip, so that a clip does not depend on its batch.
    noise = jax.random.normal(jax.random.key(0), phases.shape[1:], jnp.complex64)
    start = phases + config.griffin_lim_noise * noise
    return griffin_lim(spectrum, start, front, config.griffin_lim, pad)


def magnitudes(mel, config: MelConfig) -> jax.Array:
    """Spectral magnitudes of a log-mel: [B, T, mels] -> [B, T, fft / 2 + 1].

    Multiplicative updates for the generalised Kullback-Leibler divergence (Lee and Seung 2001) with
    fixed filters: magnitudes stay positive, and a tone is narrower than its filters.
    """
    mel, bank = jnp.exp(mel), mel_filters(config)
    sums = np.maximum(bank.sum(1), TINY)

    def update(_, spectrum):
        ratio = mel / (spectrum @ bank + TINY)
        return spectrum * (ratio @ bank.T) / sums

    first = mel @ (bank / bank.sum(0)).T + 1e-6
    return jax.lax.fori_loop(0, UPDATES, update, first)


def griffin_lim(spectrum, first, config: MelConfig, steps: int, pad: int) -> jax.Array:
    """Waveforms [B, (T - 1) * hop + fft - 2 pad] of given spectral magnitudes.

    spectrum: magnitudes, [B, T, fft / 2 + 1]; first: complex, of the same shape, whose phases are
    the start; pad: samples by which `stft` reflects the ends. Fast Griffin-Lim (Perraudin, Balazs
    and Sondergaard 2013; reference: librosa).
    """

    def waves(phases):
        return inverse_stft(spectrum * phases, config.fft, config.hop, pad)

    def step(_, carry):
        phases, previous = carry
        rebuilt = stft(waves(phases), config.fft, config.hop, pad)
        return _phases(rebuilt + MOMENTUM * (rebuilt - previous)), rebuilt

    carry = (_phases(first), jnp.zeros_like(first))
    return waves(jax.lax.fori_loop(0, steps, step, carry)[0])


def _phases(spectrum):
    """Complex numbers of length 1 with the spectrum's phases."""
    return spectrum / (jnp.abs(spectrum) + TINY)
