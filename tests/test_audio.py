"""CLAP's front end against transformers, resampling against librosa, WAV files."""

import dataclasses

import librosa
import numpy as np
import pytest
import soundfile
from transformers import ClapFeatureExtractor

from audioldm2_jax import audio
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
    ours = np.asarray(audio.clap_log_mel(audio.fit_clip(clip, config), config))
    theirs = np.stack(theirs)[:, 0]
    assert ours.shape == theirs.shape
    # Decibels of digital silence rest on a floor that rounding decides; compare what is audible.
    heard = theirs > -60
    assert heard.mean() > 0.3
    assert np.abs(ours - theirs)[heard].max() <= 1e-4 * theirs.std() + 1e-3


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
    ours, longer = audio.clap_images(clip, config)
    assert longer == bool(theirs.is_longer[0][0]) or seconds <= 10.005
    theirs = np.asarray(theirs.input_features[0])
    assert ours.shape == theirs.shape == (4, 251, 64)
    heard = theirs > -60
    assert heard.mean() > 0.3
    assert np.abs(ours - theirs)[heard].max() <= 1e-4 * theirs.std() + 1e-3


def test_longer_clips_are_cut_to_their_first_samples():
    config = ClapMelConfig()
    clip = np.arange(500_000, dtype=np.float32)[None]
    np.testing.assert_array_equal(audio.fit_clip(clip, config), clip[:, :480_000])


def test_resampling_is_librosas():
    clip = np.random.default_rng(0).standard_normal((2, 3, 1600)).astype(np.float32)
    theirs = librosa.resample(clip, orig_sr=16000, target_sr=48000)
    np.testing.assert_allclose(audio.resample(clip, 16000, 48000), theirs, atol=1e-6)


def test_wav_is_whole_or_absent(tmp_path):
    wave = np.sin(np.arange(1600) / 10).astype(np.float32)
    audio.save_wav(tmp_path / "a.wav", wave, 16000)
    back, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(back, wave, atol=1e-4)
    with pytest.raises(ValueError, match="one axis"):
        audio.save_wav(tmp_path / "b.wav", wave.reshape(1, 1, -1), 16000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
