"""Log-mel to waveform: HiFi-GAN and, where a model asks for it, phases that fit the spectrogram.

A convolutional vocoder hears equal frames as equal: of a steady tone it can make only what repeats
with every frame (100 Hz), and a small one slips. The fast Griffin-Lim algorithm, begun with the
vocoder's phases and noise, has no such limit (measured: benchmarks/nano_phases.py).
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

MOMENTUM = 0.99  # of fast Griffin-Lim; its authors' choice
UPDATES = 60  # of the magnitudes; more change the mel by less than a VAE does
# Beside the vocoder's phases: a small vocoder makes noise of pulses (docs/nano.md).
NOISE = 2.0
TINY = 1e-9


def vocode(config: HiFiGANConfig, params: dict, mel, dtype: Any = jnp.float32) -> jax.Array:
    """mel: [B, T, F], natural logarithm of magnitudes -> waveforms [B, samples], fp32.

    They may exceed 1: levels are decided where sound is written (`audioldm2_jax.loudness`).
    """
    waves = HiFiGAN(config, dtype).apply({"params": params}, mel)
    if not config.griffin_lim:
        return waves
    front = mel_config(config)
    spectrum = magnitudes(mel.astype(jnp.float32), front)
    pad, samples = (front.fft - front.hop) // 2, mel.shape[1] * front.hop
    found = _phases(stft(waves[:, :samples], front.fft, front.hop, pad))
    # The same for every clip, so that what comes beside a clip changes nothing.
    noise = jax.random.normal(jax.random.key(0), found.shape[1:], jnp.complex64)
    return griffin_lim(spectrum, found + NOISE * noise, front, config.griffin_lim, pad)


def magnitudes(mel, config: MelConfig) -> jax.Array:
    """Spectral magnitudes that make up a mel: [B, T, mels], logarithmic -> [B, T, fft / 2 + 1].

    Multiplicative updates for the generalised Kullback-Leibler divergence (Lee and Seung 2001) with
    the filters held: nothing gets negative, and a tone stays narrower than its filters.
    """
    mel, bank = jnp.exp(mel), mel_filters(config)
    sums = np.maximum(bank.sum(1), TINY)

    def update(_, spectrum):
        ratio = mel / (spectrum @ bank + TINY)
        return spectrum * (ratio @ bank.T) / sums

    first = mel @ (bank / bank.sum(0)).T + 1e-6
    return jax.lax.fori_loop(0, UPDATES, update, first)


def griffin_lim(spectrum, first, config: MelConfig, steps: int, pad: int) -> jax.Array:
    """Waveforms whose spectrum has nearly these magnitudes, begun with the phases of `first`.

    spectrum: [B, T, fft / 2 + 1]; first: the same, complex; pad: samples by which `stft`
    reflects the ends. Fast Griffin-Lim (Perraudin, Balazs and Sondergaard 2013; reference:
    librosa). Returns [B, (T - 1) * hop + fft - 2 pad].
    """

    def made(phases):
        return inverse_stft(spectrum * phases, config.fft, config.hop, pad)

    def step(_, carry):
        phases, before = carry
        found = stft(made(phases), config.fft, config.hop, pad)
        return _phases(found + MOMENTUM * (found - before)), found

    carry = (_phases(first), jnp.zeros_like(first))
    return made(jax.lax.fori_loop(0, steps, step, carry)[0])


def _phases(spectrum):
    return spectrum / (jnp.abs(spectrum) + TINY)
