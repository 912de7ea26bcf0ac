"""The classifier's output is its network's, each clip by itself."""

import numpy as np
import pytest

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.panns import Classifier
from audioldm2_jax.features.mel import decibel_mel
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import PRESETS, PANNsConfig

CONFIG = PANNsConfig(channels=(8, 16), width=12, classes=3, labels=("bee", "fan", "owl"))


def test_a_classifier_is_its_network(tmp_path):
    params = random_params("panns", CONFIG)
    single.save(single.Single("panns", CONFIG, params), tmp_path / "tagger")
    classifier = Classifier(tmp_path / "tagger", batch=4)
    assert classifier.labels == CONFIG.labels and classifier.sample_rate == 16000
    waves = 0.1 * np.random.default_rng(0).standard_normal((6, 8000)).astype(np.float32)
    embeddings, logits = classifier(waves)
    assert embeddings.shape == (6, 12) and logits.shape == (6, 3)
    for i in (0, 5):
        mel = decibel_mel(waves[i : i + 1], CONFIG)
        expected = Cnn14(CONFIG).apply({"params": params}, mel)
        np.testing.assert_allclose(logits[i], expected[0][0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(embeddings[i], expected[1][0], rtol=1e-4, atol=1e-4)


def test_other_models_do_not_classify(tmp_path):
    config = PRESETS["tiny"]().vae
    single.save(single.Single("vae", config, random_params("vae", config)), tmp_path / "vae")
    with pytest.raises(InputError, match="holds a vae; a classifier is needed"):
        Classifier(tmp_path / "vae")
