"""Vocoding: magnitudes of a mel, Griffin-Lim against librosa, tones that a vocoder cannot make."""

import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.checkpoints.parts.vocoder import read_config, write_config
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.evaluation.metrics import attributes
from audioldm2_jax.features.mel import MEL_16K, MelConfig, log_mel, mel_filters
from audioldm2_jax.features.stft import inverse_stft, stft
from audioldm2_jax.models import vocoding
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.presets import CONVENTIONS, PRESETS

MEL = MEL_16K
SMALL = MelConfig(fft=256, hop=64, mels=20)


def tone(hertz: float, seconds: float = 1.28) -> np.ndarray:
    times = np.arange(int(seconds * 16000)) / 16000
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


@pytest.mark.parametrize(("size", "hop", "pad"), ((1024, 160, 432), (256, 64, 128), (400, 100, 0)))
def test_inverse_stft(size, hop, pad):
    """The inverse of the transform, but for the ends that no window covers."""
    audio = np.random.default_rng(0).normal(size=(2, 12 * hop + size - 2 * pad)).astype(np.float32)
    restored = inverse_stft(stft(audio, size, hop, pad), size, hop, pad)
    assert restored.shape == audio.shape
    edge = 0 if pad else hop // 2
    ends = slice(edge, audio.shape[1] - edge)
    np.testing.assert_allclose(restored[:, ends], audio[:, ends], atol=1e-4)


def test_griffin_lim_is_librosas():
    rng = np.random.default_rng(1)
    spectrum = rng.uniform(0.1, 2.0, (30, 129)).astype(np.float32)
    first = (rng.normal(size=(30, 129)) + 1j * rng.normal(size=(30, 129))).astype(np.complex64)
    ours = vocoding.griffin_lim(spectrum[None], jnp.asarray(first)[None], SMALL, 5, 128)
    theirs = _librosas(spectrum.T, first.T, 5)
    np.testing.assert_allclose(ours[0], theirs, atol=2e-3 * np.abs(theirs).max())


def _librosas(spectrum, first, steps):
    """librosa draws or omits the first phases: these are put in their place."""
    draw = librosa.util.phasor
    begun = []

    def phasor(angles, **more):
        begun.append(True)
        return first / np.abs(first) if len(begun) == 1 else draw(angles, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(librosa.util, "phasor", phasor)
        return librosa.griffinlim(
            spectrum, n_iter=steps, hop_length=64, pad_mode="reflect", momentum=0.99, init="random"
        )


def test_magnitudes_make_up_their_mel():
    audio = tone(441.0) + 0.01 * np.random.default_rng(0).normal(size=20480).astype(np.float32)
    mel = log_mel(audio[None], MEL)
    spectrum = vocoding.magnitudes(mel, MEL)
    assert (np.asarray(spectrum) >= 0).all()
    again = jnp.log(spectrum @ mel_filters(MEL))
    assert np.abs(np.asarray(again - mel)).mean() < 0.02


@pytest.mark.parametrize("hertz", (110.0, 551.85, 1975.5))
def test_steady_tones(hertz):
    """An untrained vocoder's wave becomes the tone that its mel is of."""
    config = dataclasses.replace(PRESETS["nano"]().vocoder, channels=16)
    mel = log_mel(tone(hertz)[None], MEL)
    params = HiFiGAN(config).init(jax.random.key(0), mel)["params"]
    alone = vocoding.vocode(dataclasses.replace(config, griffin_lim=0), params, mel)
    wave = vocoding.vocode(config, params, mel)
    assert wave.shape == (1, 20480) and np.abs(wave).max() <= 1
    assert abs(attributes.semitones(attributes.pitch(np.asarray(wave[0]), 16000), hertz)) < 0.5
    far, near = (np.abs(log_mel(w[:, :20480], MEL) - mel).mean() for w in (alone, wave))
    assert near < 0.5 and near < far / 4


def test_configuration():
    """Written where it is set only: published configurations stay as they are."""
    nano = PRESETS["nano"]().vocoder
    for config in (nano, dataclasses.replace(nano, griffin_lim_noise=0.5)):
        assert read_config(write_config(config)) == config
    assert "griffin_lim_noise" not in write_config(nano).content
    assert "griffin_lim" not in write_config(PRESETS["base"]().vocoder).content


def test_conventions(tmp_path):
    """diffusers does not mend phases."""
    config = PRESETS["tiny"]()
    config = dataclasses.replace(config, vocoder=dataclasses.replace(config.vocoder, griffin_lim=4))
    hub.save(random_checkpoint(config), tmp_path / "model")
    steps = {
        name: hub.read_config(tmp_path / "model", convention).vocoder.griffin_lim
        for name, convention in CONVENTIONS.items()
    }
    assert steps == {"authors": 4, "diffusers": 0}
