"""The denoising loss and its weights."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from audioldm2_jax.losses.diffusion import min_snr_weight, squared_error
from audioldm2_jax.presets import ScheduleConfig
from tests.training.values import draw


def test_squared_error_is_by_clip():
    prediction, target = draw(3, 4, 2, 5), draw(3, 4, 2, 5, seed=1)
    expected = [F.mse_loss(torch.tensor(a), torch.tensor(b)) for a, b in zip(prediction, target)]
    np.testing.assert_allclose(squared_error(jnp.asarray(prediction), target), expected, rtol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_bounded_signal_to_noise_ratio(prediction):
    """Weights as diffusers' training scripts have them, by what is predicted."""
    config = ScheduleConfig(prediction_type=prediction)
    scheduler = DDPMScheduler(
        config.train_steps, config.beta_start, config.beta_end, "scaled_linear"
    )
    timesteps = torch.arange(config.train_steps)
    ratio = compute_snr(scheduler, timesteps)
    divisor = {"epsilon": ratio, "v_prediction": ratio + 1, "sample": 1.0}[prediction]
    expected = torch.clamp(ratio, max=5.0) / divisor
    weights = min_snr_weight(jnp.arange(config.train_steps), config, 5.0)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    if prediction == "epsilon":
        weights = np.asarray(weights)
        assert (weights[ratio < 5] == 1).all() and weights[0] < 0.01
    zero = dataclasses.replace(config, rescale_betas_zero_snr=True)
    last = min_snr_weight(jnp.asarray([999]), zero, 5.0)[0]
    assert last == (1.0 if prediction == "epsilon" else 0.0)
