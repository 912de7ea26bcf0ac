"""CLAP's loss against cross entropies in torch."""

import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from audioldm2_jax.losses.contrastive import contrastive, recall_at_1
from tests.training.values import draw


def test_contrastive():
    audio, text = (torch.nn.functional.normalize(torch.tensor(draw(6, 5, seed=i))) for i in (1, 2))
    product = audio @ text.T
    target = torch.arange(6)
    theirs = (F.cross_entropy(9.0 * product, target) + F.cross_entropy(7.0 * product.T, target)) / 2
    ours = contrastive(jnp.asarray(audio), jnp.asarray(text), 9.0, 7.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_recall_at_1():
    features = np.eye(4, dtype=np.float32)
    assert recall_at_1(features, features) == 1 and recall_at_1(features, features[::-1]) == 0
