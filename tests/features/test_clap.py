"""CLAP's front end against transformers'."""

import dataclasses

import jax
import numpy as np
import pytest
from transformers import ClapFeatureExtractor

from audioldm2_jax.features.clap import clap_images, clap_log_mel, fit_clip, fit_padded
from audioldm2_jax.presets import ClapMelConfig
from audioldm2_jax.presets.models import tiny


@pytest.mark.parametrize("config", [ClapMelConfig(), tiny().clap.mel])
@pytest.mark.parametrize("seconds", [3.3, 10.0])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_log_mel(config, seconds, padding):
    config = dataclasses.replace(config, padding=padding)
    samples = int(seconds * config.sample_rate)
    clip = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32) * 0.3
    extractor = ClapFeatureExtractor(
        feature_size=config.mels,
        sampling_rate=config.sample_rate,
        hop_length=config.hop,
        fft_window_size=config.fft,
        frequency_min=config.low,
        frequency_max=config.high,
        truncation="rand_trunc",
        padding=padding,
    )
    theirs = extractor(list(clip), sampling_rate=config.sample_rate).input_features
    ours = np.asarray(clap_log_mel(fit_clip(clip, config), config))
    theirs = np.stack(theirs)[:, 0]
    assert ours.shape == theirs.shape
    # Decibels of digital silence rest on a floor that rounding decides; compare what is audible.
    audible = theirs > -60
    assert audible.mean() > 0.3
    assert np.abs(ours - theirs)[audible].max() <= 1e-4 * theirs.std() + 1e-3


@pytest.mark.parametrize("seconds", [4.0, 10.0, 10.005, 13.7, 31.0])
def test_images_of_models_with_fusion(seconds, monkeypatch):
    """Four times the same, or the shrunk clip and three crops; theirs drawn at our places."""
    config = dataclasses.replace(tiny().clap.mel, mels=64, fusion=True)
    clip = np.random.default_rng(0).standard_normal(int(seconds * 48000)).astype(np.float32) * 0.3
    extractor = ClapFeatureExtractor(
        hop_length=config.hop,
        fft_window_size=config.fft,
        frequency_min=config.low,
        truncation="fusion",
    )
    monkeypatch.setattr(np.random, "choice", lambda places: places[len(places) // 2])
    theirs = extractor(clip, sampling_rate=48000)
    (ours,), longer = clap_images(clip[None], config)
    assert longer == bool(theirs.is_longer[0][0]) or seconds <= 10.005
    theirs = np.asarray(theirs.input_features[0])
    assert ours.shape == theirs.shape == (4, 251, 64)
    audible = theirs > -60
    assert audible.mean() > 0.3
    assert np.abs(ours - theirs)[audible].max() <= 1e-4 * theirs.std() + 1e-3


def test_longer_clips_are_cut_to_their_first_samples():
    config = ClapMelConfig()
    clip = np.arange(500_000, dtype=np.float32)[None]
    np.testing.assert_array_equal(fit_clip(clip, config), clip[:, :480_000])


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_a_length_that_is_an_argument(padding):
    """One program for clips of all lengths; what lies behind a clip is not read."""
    config = dataclasses.replace(ClapMelConfig(), sample_rate=100, padding=padding)
    clip = np.random.default_rng(0).standard_normal((2, 1100)).astype(np.float32)
    fit = jax.jit(lambda clip, length: fit_padded(clip, length, config))
    for length in (1, 300, 500, 999, 1000, 1100):
        np.testing.assert_array_equal(fit(clip, length), fit_clip(clip[:, :length], config))
