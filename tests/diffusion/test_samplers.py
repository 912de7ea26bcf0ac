"""Schedules against diffusers' schedulers, built from the published DDIM configuration."""

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close

from audioldm2_jax.diffusion import samplers, schedules
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

PUBLISHED = dict(
    beta_start=0.0015,
    beta_end=0.0195,
    beta_schedule="scaled_linear",
    clip_sample=False,
    num_train_timesteps=1000,
    prediction_type="epsilon",
    set_alpha_to_one=False,
    steps_offset=1,
    timestep_spacing="leading",
)
CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "dpm++2m": diffusers.DPMSolverMultistepScheduler,
    "dpm++2m-sde": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
}
SHAPE = (2, 5, 4, 3)


def network(x, t, xp):
    """A made-up predictor: bounded, not linear, different at every timestep."""
    return xp.sin(1.3 * x + 0.01 * t) + 0.3 * x


def theirs(name, steps, x, draws, eta=0.0):
    config = diffusers.DDIMScheduler(**PUBLISHED).config
    sde = {"algorithm_type": "sde-dpmsolver++"} if name == "dpm++2m-sde" else {}
    scheduler = CLASSES[name].from_config(config, **sde)
    scheduler.set_timesteps(steps)
    sample = torch.tensor(x).double() * float(scheduler.init_noise_sigma)
    evaluated = []
    for i, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(sample, t)
        prediction = network(scaled, float(t), torch)
        extra = {}
        if name == "ddim" and eta:
            extra = dict(eta=eta, variance_noise=torch.tensor(draws[i]))
        if name == "dpm++2m-sde":
            extra = dict(variance_noise=torch.tensor(draws[i]))
        if name == "ddpm":
            module = diffusers.schedulers.scheduling_ddpm
            module.randn_tensor = lambda *a, i=i, **k: torch.tensor(draws[i])
        sample = scheduler.step(prediction, t, sample, **extra).prev_sample.double()
        evaluated.append(float(t))
    return sample, evaluated


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 25, 150, 200])
@pytest.mark.parametrize("name", CLASSES)
def test_agrees_with_diffusers(name, steps):
    if name == "pndm" and steps < 4:
        with pytest.raises(InputError, match="at least 4"):
            samplers.make_schedule(name, ScheduleConfig(), samplers.Timesteps(steps))
        return
    check(name, steps)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_noise(eta):
    check("ddim", 20, eta)


def check(name, steps, eta=0.0):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(SHAPE).astype(np.float32)
    schedule = samplers.make_schedule(name, ScheduleConfig(), samplers.Timesteps(steps), eta=eta)
    draws = rng.standard_normal((len(schedule.timesteps), *SHAPE)).astype(np.float32)
    expected, evaluated = theirs(name, steps, x, draws, eta)
    np.testing.assert_array_equal(schedule.timesteps, evaluated)
    times = jnp.asarray(schedule.timesteps)
    ours = samplers.sample(
        lambda x, i: network(x, times[i], jnp), x, schedule, lambda i: jnp.asarray(draws)[i]
    )
    assert_close(ours, expected)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
@pytest.mark.parametrize("steps", [4, 333, 500, 999, 1000])
def test_every_step_count_stays_finite_and_in_range(name, steps):
    schedule = samplers.make_schedule(name, ScheduleConfig(), samplers.Timesteps(steps))
    assert schedule.timesteps.max() <= 999 and schedule.timesteps.min() >= 0
    assert np.isfinite(schedule.matrices).all()


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_recovers_a_point_from_its_true_noise(name):
    """With the exact noise of one known point every deterministic method lands on it."""
    x0 = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    share = jnp.asarray(schedules.alphas_cumprod(ScheduleConfig()), jnp.float32)
    schedule = samplers.make_schedule(name, ScheduleConfig(), samplers.Timesteps(40))
    times = jnp.asarray(schedule.timesteps, jnp.int32)

    def denoise(x, index):
        alpha_bar = share[times[index]]
        return (x - jnp.sqrt(alpha_bar) * x0) / jnp.sqrt(1 - alpha_bar)

    key = jax.random.key(0)
    start = jax.random.normal(key, SHAPE)
    noise = lambda i: jax.random.normal(jax.random.fold_in(key, i), SHAPE)  # noqa: E731
    # DDIM and PNDM end at the first training step, which keeps a little noise.
    np.testing.assert_allclose(samplers.sample(denoise, start, schedule, noise), x0, atol=0.25)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("dpm", 10), "unknown sampler 'dpm'"),
        (("ddim", 0), "steps is 0"),
        (("ddim", 1001), "steps is 1001"),
        (("ddim", 2.5), "steps is 2.5"),
        (("euler", -3), "steps is -3"),
    ],
)
def test_bad_requests(arguments, message):
    name, steps = arguments
    with pytest.raises(InputError, match=message):
        samplers.make_schedule(name, ScheduleConfig(), samplers.Timesteps(steps))


def test_eta_belongs_to_ddim():
    with pytest.raises(InputError, match="only the sampler ddim"):
        samplers.make_schedule("heun", ScheduleConfig(), samplers.Timesteps(5), eta=0.5)


def test_one_program_serves_all_solvers_and_steps():
    """A padded schedule: the count of evaluations is an argument, and rows behind it do nothing."""
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)

    def noise(index):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), index), SHAPE)

    def run(schedule, count=None):
        times = jnp.asarray(schedule.timesteps)
        return samplers.sample(
            lambda x, i: network(x, times[i], jnp), x, schedule, noise, count=count
        )

    compiled = jax.jit(run)
    for i, name in enumerate(("ddim", "heun", "pndm", "dpm++2m-sde", "unipc")):
        schedule = samplers.make_schedule(name, ScheduleConfig(), samplers.Timesteps(5 + i))
        np.testing.assert_allclose(
            compiled(*samplers.pad_schedule(schedule)), run(schedule), atol=2e-5
        )
    assert compiled._cache_size() == 1
