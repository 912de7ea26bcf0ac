"""CLAP's features of sampled clips as one program: resampling, log-mel images, the audio tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.encoders.clap import clap_image_features
from audioldm2_jax.features.clap import clap_images, fit_padded
from audioldm2_jax.features.upsampling import REACH, upsample
from audioldm2_jax.presets import CLAPConfig


@dataclass(frozen=True)
class Scoring:
    """What is fixed when the program is compiled.

    sample_rate: the clips', a divisor of CLAP's. whole: clips are longer than CLAP's, and a model
    with fusion reads all of them.
    """

    config: CLAPConfig
    dtype: Any
    sample_rate: int
    whole: bool

    @property
    def factor(self) -> int:
        """How often CLAP's sample rate is the clips'."""
        return self.config.mel.sample_rate // self.sample_rate


def scoring_of(config: CLAPConfig, dtype, sample_rate: int, samples: int) -> Scoring:
    """The program of clips of so many samples."""
    rate = config.mel.sample_rate
    longer = samples * rate > config.mel.samples * sample_rate
    return Scoring(config, dtype, sample_rate, config.mel.fusion and longer)


def pad_waves(program: Scoring, waves: np.ndarray) -> np.ndarray:
    """[B, samples] with zeros, or cut, to what clips of all durations share."""
    if program.whole:
        return waves
    # The filter reads some samples behind the last one that CLAP does.
    length = program.config.mel.samples // program.factor + REACH
    return np.pad(waves[:, :length], ((0, 0), (0, max(length - waves.shape[1], 0))))


def audio_features(program: Scoring, params: dict, waves, samples) -> jax.Array:
    """CLAP features [B, D] fp32, unit length. waves: of `pad_waves`; samples: the clips' length."""
    front_end = program.config.mel
    waves = upsample(waves, program.sample_rate, front_end.sample_rate)
    if not program.whole:
        waves = fit_padded(waves, samples * program.factor, front_end)
    images, longer = clap_images(waves, front_end)
    longer = jnp.full(waves.shape[0], longer)
    return clap_image_features(params, images, longer, program.config, program.dtype)
