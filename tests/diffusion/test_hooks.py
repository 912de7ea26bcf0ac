"""The hook between steps: what it sees, what it may change, and nothing if it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.diffusion import samplers
from audioldm2_jax.diffusion.samplers import Timesteps, make_schedule, noise_to_start, noise_to_step
from audioldm2_jax.presets import ScheduleConfig

SHAPE = (2, 6, 4, 3)
X0, NOISE = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
MASK = (np.arange(6) < 3).reshape(1, -1, 1, 1)  # of the known half


def unit_noise(index):
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), index), SHAPE)


def run(schedule, on_step, x=NOISE):
    times = jnp.asarray(schedule.timesteps)
    denoise = lambda x, i: jnp.sin(1.3 * x + 0.01 * times[i]) + 0.3 * x  # noqa: E731
    return jax.jit(lambda x: samplers.sample(denoise, x, schedule, unit_noise, on_step))(x)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_a_hook_that_changes_nothing(name):
    schedule = make_schedule(name, ScheduleConfig(), Timesteps(5))
    np.testing.assert_array_equal(run(schedule, lambda x, x0, i: x), run(schedule, None))


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_a_known_region_returns(name, strength):
    """Pinned at each level, it is the known clip in the end, and the rest is not."""
    schedule = make_schedule(name, ScheduleConfig(), Timesteps(8, strength=strength))

    def pin(x, x0, index):
        return jnp.where(MASK, noise_to_step(schedule, X0, NOISE, index + 1), x)

    result = run(schedule, pin, noise_to_start(schedule, X0, NOISE))
    np.testing.assert_array_equal(result[:, :3], X0[:, :3])
    assert np.abs(result - X0)[:, 3:].max() > 0.1


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_the_predicted_result(name, prediction):
    """Of a network that knows the clip it is the clip at every evaluation."""
    config = ScheduleConfig(prediction_type=prediction)
    if prediction == "sample" and name in ("pndm", "euler-a"):
        return
    schedule = make_schedule(name, config, Timesteps(5))
    scales = schedule.input_scales
    alphas, sigmas = (jnp.asarray(x[:-1] * scales) for x in (schedule.alphas, schedule.sigmas))

    def denoise(x, i):
        eps = (x - alphas[i] * X0) / sigmas[i]
        velocity = alphas[i] * eps - sigmas[i] * X0
        return {"epsilon": eps, "v_prediction": velocity, "sample": X0}[prediction]

    predictions = []

    def record(x, x0, index):
        jax.debug.callback(lambda x0, i: predictions.append((int(i), np.asarray(x0))), x0, index)
        return x

    jax.block_until_ready(samplers.sample(denoise, NOISE, schedule, unit_noise, record))
    jax.effects_barrier()
    assert sorted(i for i, _ in predictions) == list(range(len(schedule.timesteps)))
    for _, x0 in predictions:
        np.testing.assert_allclose(x0, X0, atol=2e-3)
