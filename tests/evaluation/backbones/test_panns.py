"""Cnn14 as a backbone: each clip by itself, and files with their own front end."""

import jax
import librosa
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.panns import Classifier, PANNs
from audioldm2_jax.features.mel import decibel_mel
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import PRESETS, PANNsConfig
from tests.evaluation.backbones.independence import check_independence

CONFIG = PANNsConfig(channels=(8, 16), width=12, classes=3, labels=("bee", "fan", "owl"))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panns") / "tagger"
    single.save(single.Single("panns", CONFIG, random_params("panns", CONFIG)), folder)
    return folder


def waves(*lengths):
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(n).astype(np.float32) for n in lengths]


def test_a_classifier_is_its_network(tagger):
    params = random_params("panns", CONFIG)
    classifier = Classifier(tagger, batch=4)
    assert classifier.labels == CONFIG.labels and classifier.sample_rate == 16000
    clips = np.stack(waves(*[8000] * 6))
    embeddings, logits = classifier(clips)
    assert embeddings.shape == (6, 12) and logits.shape == (6, 3)
    for i in (0, 5):
        mel = decibel_mel(clips[i : i + 1], CONFIG)
        expected = Cnn14(CONFIG).apply({"params": params}, mel)
        np.testing.assert_allclose(logits[i], expected[0][0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(embeddings[i], expected[1][0], rtol=1e-4, atol=1e-4)


def test_clips_do_not_depend_on_mates_or_sizes(tagger):
    """Odd lengths in one call are the same clips alone, cut to exactly their frames."""
    params = random_params("panns", CONFIG)
    clips = waves(8000, 7777, 6805, 1)
    apply = jax.jit(lambda mel: Cnn14(CONFIG).apply({"params": params}, mel)[:2])
    together = PANNs(tagger)(clips)
    for clip, output in zip(clips, together):
        padded = np.pad(clip, (0, max(0, 257 - len(clip))))
        expected = apply(decibel_mel(padded[None], CONFIG))
        assert output.embeddings.shape == (1, 12) and output.logits.shape == (3,)
        np.testing.assert_allclose(output.logits, expected[0][0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(output.embeddings, expected[1], rtol=1e-5, atol=1e-5)


def test_clips_are_independent(tagger):
    check_independence(
        lambda devices: PANNs(tagger, devices=devices), waves(8000, 7777, 6805, 7999, 400)
    )


def test_other_models_do_not_classify(tmp_path):
    config = PRESETS["tiny"]().vae
    single.save(single.Single("vae", config, random_params("vae", config)), tmp_path / "vae")
    with pytest.raises(InputError, match="holds a vae; a classifier is needed"):
        Classifier(tmp_path / "vae")


def published_file(path, rate, fft, hop, high, mel_high=None):
    """A file as PANNs' authors save it, with the constants of torchlibrosa's front end."""
    config = PANNsConfig(rate, fft, hop, 64, 50.0, high, (4, 8), 6, 5)
    state = from_params(random_params("panns", config), PARTS["panns"].table(config))
    basis = np.fft.fft(np.eye(fft))[: fft // 2 + 1] * librosa.filters.get_window("hann", fft)
    state |= {
        "spectrogram_extractor.stft.conv_real.weight": basis.real[:, None].astype(np.float32),
        "spectrogram_extractor.stft.conv_imag.weight": basis.imag[:, None].astype(np.float32),
        "logmel_extractor.melW": librosa.filters.mel(
            sr=rate, n_fft=fft, n_mels=64, fmin=50, fmax=mel_high or high
        ).T,
    }
    state = {name: torch.tensor(np.array(value)) for name, value in state.items()}
    torch.save({"model": state}, path)
    return state


def torch_cnn14(state, wave, fft, hop):
    """(embedding, logits) by torch, with the file's own front end. wave: [samples]."""
    x = F.pad(torch.tensor(wave)[None, None], (fft // 2, fft // 2), mode="reflect")
    stft = "spectrogram_extractor.stft.conv_{}.weight"
    real, imag = (F.conv1d(x, state[stft.format(p)], stride=hop) for p in ("real", "imag"))
    mel = (real**2 + imag**2).transpose(1, 2) @ state["logmel_extractor.melW"]
    x = 10 * torch.log10(torch.clamp(mel, min=1e-10))

    def norm(x, name):
        parts = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = norm(x.transpose(1, 2)[..., None], "bn0")[..., 0].transpose(1, 2)[:, None]
    for i in (1, 2):
        for j in (1, 2):
            x = F.conv2d(x, state[f"conv_block{i}.conv{j}.weight"], padding=1)
            x = F.relu(norm(x, f"conv_block{i}.bn{j}"))
        x = F.avg_pool2d(x, 2) if i == 1 else x
    x = x.mean(3)
    x = F.relu(F.linear(x.amax(2) + x.mean(2), state["fc1.weight"], state["fc1.bias"]))
    return x, F.linear(x, state["fc_audioset.weight"], state["fc_audioset.bias"])


@pytest.mark.parametrize(
    "rate, fft, hop, high, mel_high",
    [
        (16000, 512, 160, 8000, None),
        (32000, 1024, 320, 14000, None),
        (32000, 1024, 320, 14000, 16000),
    ],
)
def test_a_published_file_brings_its_front_end(tmp_path, rate, fft, hop, high, mel_high):
    """Rate, window and filters come from the file; torch computes the same from its constants."""
    path = tmp_path / "Cnn14.pth"
    state = published_file(path, rate, fft, hop, high, mel_high)
    backbone = PANNs(path)
    assert backbone.sample_rate == rate and backbone.config.high == (mel_high or high)
    assert backbone.labels == tuple("01234")
    (clip,) = waves(5000)
    (output,) = backbone([clip])
    embedding, logits = torch_cnn14(state, clip, fft, hop)
    np.testing.assert_allclose(output.embeddings, embedding, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(output.logits, logits[0], rtol=1e-4, atol=1e-4)


def test_a_strange_front_end_is_refused(tmp_path):
    path = tmp_path / "Cnn14.pth"
    state = published_file(path, 16000, 512, 160, 8000, 6000)
    with pytest.raises(InputError, match=r"Cnn14.pth: logmel_extractor.melW are not Slaney's 64"):
        PANNs(path)
    state["spectrogram_extractor.stft.conv_real.weight"] *= 2
    torch.save({"model": state}, path)
    with pytest.raises(InputError, match="conv_real.weight is not the Fourier transform"):
        PANNs(path)
    state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(201, 1, 400)
    torch.save({"model": state}, path)
    with pytest.raises(InputError, match="published files have 256, 512, 1024 taps"):
        PANNs(path)
