"""CLAP as a backbone: transformers' features of folders, and LAION's files."""

import dataclasses

import jax
import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor, ClapModel

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts.clap_tables import authors_table
from audioldm2_jax.checkpoints.tokenizer_files import write_tokenizer
from audioldm2_jax.data.corpus.tokenizer_training import train_bpe
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.clap import CLAP
from audioldm2_jax.presets import CLAPConfig, ClapMelConfig, HTSATConfig, RobertaConfig
from audioldm2_jax.presets.models import tiny
from tests.evaluation.backbones.independence import check_independence

TEXTS = ["a dog barks", "", "rain on a tin roof while somebody plays the piano far away " * 3]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["a dog barks", "rain on a tin roof, far away"], 600)


def waves(*seconds):
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal(int(s * 48000)).astype(np.float32) for s in seconds]


@pytest.mark.parametrize("fusion", [False, True])
def test_features_are_those_of_transformers(tmp_path, tokenizer, fusion, monkeypatch):
    config = tiny().clap
    mels = 64 if fusion else 16  # the feature extractor of fusion has no other
    audio = dataclasses.replace(config.audio, fusion=fusion, mels=mels, image=4 * mels)
    config = dataclasses.replace(
        config, audio=audio, mel=dataclasses.replace(config.mel, fusion=fusion, mels=mels)
    )
    params = random_params("clap", config)
    single.save(single.Single("clap", config, params, tokenizer), tmp_path / "clap")
    backbone, clips = CLAP(tmp_path / "clap"), waves(3.3, 10.0, 10.9)
    assert backbone.sample_rate == 48000 and backbone.labels == ()
    theirs = ClapModel.from_pretrained(tmp_path / "clap").eval()
    extractor = ClapFeatureExtractor.from_pretrained(tmp_path / "clap")
    monkeypatch.setattr(np.random, "choice", lambda places: places[len(places) // 2])
    monkeypatch.setattr(np.random, "randint", lambda low, high: 0)  # crops at the beginning
    inputs = [extractor(clip, sampling_rate=48000, return_tensors="pt") for clip in clips]
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        audio = [_vectors(theirs.get_audio_features(**one)) for one in inputs]
        text = _vectors(theirs.get_text_features(**tokens))
    outputs = backbone(clips)
    for output, expected in zip(outputs, audio):
        assert output.embeddings.shape == (1, 24) and output.logits is None
        np.testing.assert_allclose(output.embeddings, expected, atol=2e-4)
    np.testing.assert_allclose(backbone.text_features(TEXTS), text, atol=1e-5)
    check_independence(lambda devices: CLAP(tmp_path / "clap", devices), waves(3.3, 10.9, 11.2))
    # A text alone is the text among others.
    np.testing.assert_allclose(backbone.text_features(TEXTS[:1]), text[:1], atol=1e-5)
    assert backbone.text_features([]).shape == (0, 24)


def _vectors(output):
    vectors = output.pooler_output if hasattr(output, "pooler_output") else output
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def test_a_file_of_laion(tmp_path, tokenizer):
    """The form of 630k-audioset-best.pt, with the tokenizer in a folder beside it."""
    config = CLAPConfig(
        text=RobertaConfig(vocab=600, width=64, depth=1, heads=1, hidden=32, positions=514),
        audio=HTSATConfig(embed=8, depths=(1, 1), heads=(1, 2)),
        mel=ClapMelConfig(),
        width=12,
    )
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, eps=1e-5))
    params = random_params("clap", config)
    state = from_params(params, authors_table(config))
    state = {f"module.{name}": torch.tensor(np.array(value)) for name, value in state.items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "clap.pt")
    write_tokenizer(tokenizer, tmp_path / "tokenizer")
    backbone = CLAP(tmp_path / "clap.pt")
    assert backbone.config == config
    jax.tree.map(np.testing.assert_array_equal, backbone.batches._params, params)
    single.save(single.Single("clap", config, params, tokenizer), tmp_path / "folder")
    folder = CLAP(tmp_path / "folder")
    texts = TEXTS[:2]
    np.testing.assert_array_equal(backbone.text_features(texts), folder.text_features(texts))
    # laion_clap cuts texts at 77 tokens.
    long = " ".join(map(str, range(300)))
    assert np.abs(backbone.text_features([long]) - folder.text_features([long])).max() > 1e-3


def test_without_a_tokenizer_texts_are_refused(tmp_path):
    config = tiny().clap
    single.save(single.Single("clap", config, random_params("clap", config)), tmp_path / "clap")
    backbone = CLAP(tmp_path / "clap")
    with pytest.raises(InputError, match="no tokenizer with it; put roberta-base's files into"):
        backbone.text_features(["a dog barks"])


def test_a_text_tower_alone_is_refused(tmp_path):
    config = tiny().vae
    single.save(single.Single("vae", config, random_params("vae", config)), tmp_path / "vae")
    with pytest.raises(InputError, match="holds a vae; a CLAP with both towers is needed"):
        CLAP(tmp_path / "vae")
