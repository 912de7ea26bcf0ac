"""CLAP compares clips with texts: features of both, and candidates by their scores."""

from __future__ import annotations

import numpy as np

from audioldm2_jax import audio
from audioldm2_jax.encoders.clap import clap_text_features
from audioldm2_jax.pipelines.programs import scoring
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.presets import CLAPConfig

# Clips that a mesh scores at once.
_CLIPS = 8


def audio_features(
    runner: Runner, params: dict, config: CLAPConfig, waves, sample_rate: int
) -> np.ndarray:
    """waves: [B, samples] at `sample_rate` -> CLAP features [B, D], few clips at once.

    On the CPU one at once; elsewhere always eight, or one on each of more devices, so that one
    program serves any number.
    """
    target = config.mel.sample_rate
    if target % sample_rate:
        waves, sample_rate = audio.resample(waves, sample_rate, target), target
    waves, features = np.asarray(waves, np.float32), []
    program = scoring.scoring_of(config, runner.dtype, sample_rate, waves.shape[1])
    samples, waves = np.int32(waves.shape[1]), scoring.pad_waves(program, waves)
    size = 1 if runner.mesh is None else -(-_CLIPS // runner.mesh.size) * runner.mesh.size
    for first in range(0, len(waves), size):
        clips = np.minimum(np.arange(first, first + size), len(waves) - 1)
        arguments = params, waves[clips], samples
        features.append(_run(runner, scoring.audio_features, program, arguments, "audio encoder"))
    return np.concatenate(features)[: len(waves)]


def text_features(runner: Runner, params: dict, config: CLAPConfig, tokens, mask) -> np.ndarray:
    """tokens, mask: [B, L] -> CLAP features [B, D]."""
    program = config, runner.dtype
    return _run(runner, _text_features, program, (params, tokens, mask), "text encoder")


def rank(waves, scores):
    """Each prompt's candidates and scores, best first; equals keep their order.

    waves: [P, n, samples]; scores: [P, n].
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(waves, order[:, :, None], 1)
    return ranked, np.take_along_axis(scores, order, 1)


def _run(runner, function, program, arguments, label: str) -> np.ndarray:
    run = runner.compiled(function, program, *arguments, label=label, progress=False)
    return np.asarray(run(*arguments), np.float32)


def _text_features(program, params, tokens, mask):
    config, dtype = program
    return clap_text_features(params, tokens, mask, config, dtype)
