"""Sampling in a loop on the host: the clips of the scan, and its hook."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.diffusion import samplers
from audioldm2_jax.diffusion.samplers import Timesteps, make_schedule, noise_to_step
from audioldm2_jax.pipelines import stepwise
from audioldm2_jax.presets import ScheduleConfig

SHAPE = (1, 6, 4, 3)
X0, NOISE = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
MASK = (np.arange(6) < 3).reshape(1, -1, 1, 1)


def unit_noise(index):
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), index), SHAPE)


def network(schedule):
    times = jnp.asarray(schedule.timesteps)
    return lambda x, i: jnp.sin(1.3 * x + 0.01 * times[i]) + 0.3 * x


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_a_hook_gives_the_clip_of_the_scan(name):
    """A hook that reads all its arguments; without it the clip is another."""
    schedule = make_schedule(name, ScheduleConfig(), Timesteps(5))

    def hook(x, x0, index):
        return jnp.where(MASK, noise_to_step(schedule, X0, NOISE, index + 1), x + 0.05 * x0)

    arguments = network(schedule), NOISE, schedule, unit_noise
    plain, hooked = (stepwise.sample(*arguments, on_step) for on_step in (None, hook))
    for result, on_step in ((plain, None), (hooked, hook)):
        scan = jax.jit(lambda x: samplers.sample(arguments[0], x, *arguments[2:], on_step))(NOISE)  # noqa: B023
        np.testing.assert_allclose(result, scan, atol=1e-4)
    assert np.abs(hooked - plain).max() > 0.1


def test_a_hook_may_raise():
    """Cancellation: the loop ends after that evaluation."""
    schedule, reports = make_schedule("ddim", ScheduleConfig(), Timesteps(5)), []

    def cancel(x, x0, index):
        if index == 2:
            raise InterruptedError
        return x

    with pytest.raises(InterruptedError):
        stepwise.sample(
            network(schedule), NOISE, schedule, None, cancel, lambda: reports.append(None)
        )
    assert len(reports) == 2
