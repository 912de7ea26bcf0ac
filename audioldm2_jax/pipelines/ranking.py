"""CLAP compares clips with texts: features of both, and candidates by their scores."""

from __future__ import annotations

import numpy as np

from audioldm2_jax import audio
from audioldm2_jax.encoders.clap import clap_image_features, clap_text_features
from audioldm2_jax.features.clap import clap_images
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.presets import CLAPConfig


def audio_features(
    runner: Runner, params: dict, config: CLAPConfig, waves, sample_rate: int
) -> np.ndarray:
    """waves: [B, samples] at `sample_rate` -> CLAP features [B, D], one clip after another."""
    waves = audio.resample(waves, sample_rate, config.mel.sample_rate)
    features = []
    for wave in waves:
        images, longer = clap_images(wave, config.mel)
        arguments = (params, images[None], np.array([longer]))
        features.append(_run(runner, _image_features, config, arguments, "audio encoder"))
    return np.concatenate(features)


def text_features(runner: Runner, params: dict, config: CLAPConfig, tokens, mask) -> np.ndarray:
    """tokens, mask: [B, L] -> CLAP features [B, D]."""
    return _run(runner, _text_features, config, (params, tokens, mask), "text encoder")


def rank(waves, scores):
    """Each prompt's candidates and scores, best first; equals keep their order.

    waves: [P, n, samples]; scores: [P, n].
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(waves, order[:, :, None], 1)
    return ranked, np.take_along_axis(scores, order, 1)


def _run(runner, function, config, arguments, label: str) -> np.ndarray:
    key = config, runner.dtype
    run = runner.compiled(function, key, *arguments, label=label, progress=False)
    return np.asarray(run(*arguments), np.float32)


def _image_features(key, params, images, longer):
    config, dtype = key
    return clap_image_features(params, images, longer, config, dtype)


def _text_features(key, params, tokens, mask):
    config, dtype = key
    return clap_text_features(params, tokens, mask, config, dtype)
