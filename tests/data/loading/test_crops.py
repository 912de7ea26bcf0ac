"""The training clip against its reference's steps, written here with torch."""

import io

import numpy as np
import pytest
import soundfile
import torch

from audioldm2_jax.audio import resample
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.loading import crops


def flac(wave, rate):
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_24")
    return file.getvalue()


class Uniform:
    """Counts and gives fixed draws in [0, 1)."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def uniform(self, low, high):
        return low + (high - low) * self.draws.pop(0)


def reference(wave, rate, seconds, draws):
    """Crop, resample, first channel, mean, peak, pad: wave [channels, samples]."""
    wave, length = torch.as_tensor(wave, dtype=torch.float32), int(rate * seconds)
    if wave.shape[1] > length:
        for _ in range(10):
            start = int(draws.pop(0) * (wave.shape[1] - length))
            piece = wave[:, start : start + length]
            if piece.abs().max() > 1e-4:
                break
        wave = piece
    wave = resample(wave.numpy(), rate, 16000)[0]
    wave = wave - np.mean(wave)
    wave = wave / (np.max(np.abs(wave)) + 1e-8) * 0.5
    return np.pad(wave, (0, max(0, int(16000 * seconds) - len(wave))))[: int(16000 * seconds)]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_against_the_reference(rate, seconds):
    """Longer and shorter files, stereo, off their mean."""
    wave = np.random.default_rng(rate).normal(0.05, 0.1, (int(0.3 * rate), 2))
    data = flac(wave, rate)
    read = soundfile.read(io.BytesIO(data), dtype="float32")[0].T
    clip, valid = crops.training_clip(data, seconds, 16000, Uniform(0.37))
    expected = reference(read, rate, seconds, [0.37])
    np.testing.assert_allclose(clip, expected, atol=1e-6)
    assert clip.shape == (int(16000 * seconds),) and clip.dtype == np.float32
    assert valid == pytest.approx(min(seconds, 0.3), abs=1e-3)


def test_silence_is_drawn_again():
    wave = np.zeros(16000)
    wave[15000:] = 0.3 * np.sin(np.arange(1000))
    draws = Uniform(0.0, 0.1, 0.2, 0.999)
    piece, _ = crops.random_crop(flac(wave, 16000), 0.1, draws)
    assert not draws.draws and np.abs(piece).max() > 0.1
    silent = Uniform(*[0.5] * 10)
    piece, _ = crops.random_crop(flac(np.zeros(16000), 16000), 0.1, silent)
    assert not silent.draws and not piece.any(), "after ten tries it is taken"


def test_silence_stays_finite():
    clip, _ = crops.training_clip(flac(np.zeros(8000), 16000), 1.0, 16000, Uniform())
    assert np.isfinite(clip).all() and not clip.any()


def test_values_that_are_not_finite_are_refused():
    file = io.BytesIO()
    soundfile.write(file, np.array([0.0, np.nan, 0.1]), 16000, format="WAV", subtype="FLOAT")
    with pytest.raises(Unreadable, match="not finite"):
        crops.training_clip(file.getvalue(), 1.0, 16000, Uniform())
