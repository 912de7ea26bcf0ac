"""CLAP's front end against transformers, resampling against librosa, WAV files."""

import dataclasses

import librosa
import numpy as np
import pytest
import soundfile
from transformers import ClapFeatureExtractor

from audioldm2_jax import audio
from audioldm2_jax.presets import ClapMelConfig, tiny


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
    with pytest.raises(ValueError):
        audio.save_wav(tmp_path / "b.wav", wave.reshape(1, 1, -1), 16000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
