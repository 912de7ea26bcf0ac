"""Resampling against librosa, WAV files."""

import librosa
import numpy as np
import pytest
import soundfile

from audioldm2_jax import audio


def test_resampling_is_librosas():
    clip = np.random.default_rng(0).standard_normal((2, 3, 1600)).astype(np.float32)
    theirs = librosa.resample(clip, orig_sr=16000, target_sr=48000)
    np.testing.assert_allclose(audio.resample(clip, 16000, 48000), theirs, atol=1e-6)


def test_wav_is_whole_or_absent(tmp_path):
    wave = np.sin(np.arange(1600) / 10).astype(np.float32)
    audio.save_audio(tmp_path / "a.wav", wave, 16000)
    back, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(back, wave, atol=1e-4)
    with pytest.raises(ValueError, match="one axis"):
        audio.save_audio(tmp_path / "b.wav", wave.reshape(1, 1, -1), 16000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
