"""The forward process and the target, as diffusers' training scripts have them."""

import jax
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from audioldm2_jax.diffusion.process import diffuse
from audioldm2_jax.diffusion.schedules import alphas_cumprod
from audioldm2_jax.presets import ScheduleConfig
from tests.training.values import draw


def test_noise_has_the_schedules_variance():
    config = ScheduleConfig()
    x0, keys = 2.0 * draw(64, 8, 4, 2), jax.random.split(jax.random.key(0), 64)
    x_t, noise, timesteps = diffuse(x0, keys, config)
    share = alphas_cumprod(config)[np.asarray(timesteps)].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(
        x_t, np.sqrt(share) * x0 + np.sqrt(1 - share) * np.asarray(noise), atol=1e-5
    )
    assert len(set(np.asarray(timesteps).tolist())) > 50
    assert abs(float(noise.std()) - 1) < 0.05
    again = diffuse(x0[:3], keys[:3], config)[0]
    np.testing.assert_allclose(again, x_t[:3], atol=1e-6, err_msg="draws belong to clips")


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_target_is_what_the_schedule_predicts(prediction, zero_snr):
    """As diffusers' training scripts have it; a perfect network's samples are the clips."""
    config = ScheduleConfig(prediction_type=prediction, rescale_betas_zero_snr=zero_snr)
    kind = DDPMScheduler(
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_snr,
    )
    x0, keys = 2.0 * draw(64, 8, 4, 2), jax.random.split(jax.random.key(0), 64)
    noise = diffuse(x0, keys, ScheduleConfig())[1]
    x_t, target, timesteps = diffuse(x0, keys, config)
    clip, noise, t = (torch.tensor(np.asarray(x)) for x in (x0, noise, timesteps))
    expected = {
        "epsilon": noise,
        "v_prediction": kind.get_velocity(clip, noise, t),
        "sample": clip,
    }[prediction]
    np.testing.assert_allclose(x_t, kind.add_noise(clip, noise, t), atol=1e-4)
    np.testing.assert_allclose(target, expected, atol=1e-4)
