"""Front ends on the device equal librosa's and Kaldi's."""

import jax
import librosa
import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from audioldm2_jax.features.kaldi import fbank
from audioldm2_jax.features.mel import MEL_16K, MEL_48K, log_mel


def clip(samples, seed=0):
    rng = np.random.default_rng(seed)
    tone = np.sin(np.cumsum(rng.uniform(0.01, 1.0, samples)))
    return (0.3 * tone + 0.1 * rng.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("config", [MEL_16K, MEL_48K])
@pytest.mark.parametrize("seconds", [10.24, 1.0, 0.513])
def test_log_mel(config, seconds):
    wave = clip(int(seconds * config.sample_rate))
    pad = (config.fft - config.hop) // 2
    stft = librosa.stft(
        np.pad(wave, pad, mode="reflect"),
        n_fft=config.fft,
        hop_length=config.hop,
        window="hann",
        center=False,
    )
    mel = librosa.feature.melspectrogram(
        S=np.abs(stft),
        sr=config.sample_rate,
        n_mels=config.mels,
        fmin=config.low,
        fmax=config.high,
    )
    theirs = np.log(np.maximum(mel, 1e-5)).T
    ours = jax.jit(lambda x: log_mel(x, config))(wave[None])[0]
    assert ours.shape == theirs.shape == (len(wave) // config.hop, config.mels)
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_lengths_of_training():
    shape = jax.eval_shape(log_mel, jax.ShapeDtypeStruct((1, 163840), np.float32)).shape
    assert shape == (1, 1024, 64)
    shape = jax.eval_shape(fbank, jax.ShapeDtypeStruct((1, 163840), np.float32)).shape
    assert shape == (1, 1024, 128)


@pytest.mark.parametrize("samples", [163840, 16000, 180000])
def test_fbank(samples):
    """transformers' Kaldi path, frame by frame; then AudioLDM 2's padding and normalisation."""
    wave = clip(samples)
    filters = mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=128,
        min_frequency=20,
        max_frequency=8000,
        sampling_rate=16000,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    theirs = spectrogram(
        (wave - wave.mean()).astype(np.float64),
        window_function(400, "hann", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    count = (samples - 400) // 160 + 1
    assert len(theirs) == count
    padded = np.zeros((1024, 128))
    padded[: min(count, 1024)] = theirs[:1024]
    padded = (padded + 4.2677393) / (2 * 4.5689974)
    ours = np.asarray(jax.jit(fbank)(wave[None])[0])
    assert np.abs(ours - padded).max() < 1e-4
    if count < 1024:
        np.testing.assert_allclose(ours[count:], 0.46703, atol=1e-5)
