"""Reconstruction and ground-truth LOA are the networks', whatever the batch."""

import numpy as np
import pytest

from audioldm2_jax.encoders.latents import encode_waveform
from audioldm2_jax.encoders.loa import audiomae_loa
from audioldm2_jax.evaluation.reconstruction import ground_truth_loa, reconstruct
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.models.vocoding import vocode
from tests.training.stages_of import TINY, weights

WAVES = 0.1 * np.random.default_rng(0).standard_normal((3, 10240)).astype(np.float32)


@pytest.mark.slow
def test_reconstruct():
    params = weights()
    mean, _ = encode_waveform(params["vae"], WAVES, TINY)
    mel = VAE(TINY.vae).apply({"params": params["vae"]}, mean, method="decode")
    expected = np.clip(vocode(TINY.vocoder, params["vocoder"], mel), -1, 1)[:, :10240]
    result = reconstruct(params, WAVES, TINY, batch=2)
    assert result.shape == WAVES.shape and np.abs(result).max() <= 1
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_ground_truth_loa():
    params = weights()["audiomae"]
    expected = audiomae_loa(params, WAVES, TINY.audiomae, (4,))[4]
    result = ground_truth_loa(params, WAVES, TINY.audiomae, pooling=4, batch=2)
    np.testing.assert_allclose(result, expected, atol=1e-5)
