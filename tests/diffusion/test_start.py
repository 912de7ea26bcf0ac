"""A start in the middle: diffusers' image-to-image, and the tail of a full run."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close

from audioldm2_jax.checkpoints import scheduler as scheduler_config
from audioldm2_jax.diffusion import samplers
from audioldm2_jax.diffusion.samplers import Timesteps, make_schedule, noise_to_start
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig
from tests.diffusion.scheduler_files import draw_noise, network, run_schedule, scheduler_of

SHAPE = (2, 3, 4, 3)
X0, NOISE = np.random.default_rng(0).standard_normal((2, *SHAPE))
DRAWS = np.random.default_rng(1).standard_normal((64, *SHAPE))
LATENT = dict(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", steps_offset=1)
DPM = "DPMSolverMultistepScheduler"
# PNDM's and LMS' classes are left out: the first evaluates a restart beside its timesteps, the
# second takes the weights of past slopes that it has not. Ours restart both at order one.
CLASSES = {
    "ddim": ("DDIMScheduler", dict(clip_sample=False)),
    "ddpm": ("DDPMScheduler", dict(clip_sample=False)),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++2m": (DPM, dict(algorithm_type="dpmsolver++", solver_order=2)),
    "dpm++2m-sde": (DPM, dict(algorithm_type="sde-dpmsolver++", solver_order=2)),
    "dpmsolver": (DPM, dict(solver_order=3)),
    "unipc": ("UniPCMultistepScheduler", {}),
}
MEMORYLESS = ("ddim", "ddpm", "euler", "euler-a", "heun")


def read(name, **entries):
    """(the schedule's configuration, diffusers' scheduler) of one file."""
    kind, own = CLASSES[name]
    file = {"_class_name": kind, **LATENT, **own, **entries}
    return scheduler_config.read_schedule(file, "scheduler_config.json"), scheduler_of(file)


def image_to_image(scheduler, timesteps, x0, noise):
    """As diffusers' image-to-image pipelines: (the sample, the timesteps of its evaluations)."""
    if timesteps.values is None:
        scheduler.set_timesteps(timesteps.count)
    else:
        scheduler.set_timesteps(timesteps=list(timesteps.values))
    begin = timesteps.total - min(int(timesteps.total * timesteps.strength), timesteps.total)
    times = scheduler.timesteps[begin * scheduler.order :]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin * scheduler.order)
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = scheduler.sigmas.double()
    sample = scheduler.add_noise(torch.tensor(x0), torch.tensor(noise), times[:1]).double()
    for i, t in enumerate(times):
        output = network(scheduler.scale_model_input(sample, t).double(), float(t), torch)
        with draw_noise(scheduler, DRAWS[i]):
            sample = scheduler.step(output, t, sample).prev_sample.double()
    return sample.numpy(), [float(t) for t in times]


def compare(name, timesteps, **entries):
    config, scheduler = read(name, **entries)
    schedule = make_schedule(name, config, timesteps)
    expected, times = image_to_image(scheduler, timesteps, X0, NOISE)
    np.testing.assert_allclose(schedule.timesteps, times, atol=1e-3)
    start = np.asarray(noise_to_start(schedule, X0, NOISE), np.float64)
    ours = run_schedule(schedule, start, DRAWS, times)
    assert np.abs(ours - expected).max() < 3e-3 * np.abs(expected).max()


@pytest.mark.parametrize("strength", [0.1, 0.35, 0.8, 1.0])
@pytest.mark.parametrize("name", CLASSES)
def test_image_to_image_of_diffusers(name, strength):
    for spacing in ("leading", "trailing", "linspace"):
        for count in (10, 25):
            timesteps = Timesteps(count, strength=strength)
            compare(name, timesteps, timestep_spacing=spacing)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("name", CLASSES)
def test_other_predictions(name, prediction):
    if (name, prediction) != ("euler-a", "sample"):
        compare(name, Timesteps(10, strength=0.6), prediction_type=prediction)


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("name", ["ddpm", "euler", "heun", "dpm++2m", "dpm++2m-sde", "dpmsolver"])
def test_timesteps_by_value(name, strength):
    """As diffusers' classes that take them."""
    compare(name, Timesteps(values=(999, 800, 520, 300, 120, 19), strength=strength))


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_full_strength_is_the_whole_schedule(name):
    config = ScheduleConfig()
    spelled_out = Timesteps(9, spacing="leading", strength=1.0)
    whole, same = (make_schedule(name, config, t) for t in (Timesteps(9), spelled_out))
    assert_equal(whole, same, slice(None))
    assert len(whole.timesteps) >= 9 and whole.alphas[-1] == 1 and whole.sigmas[-1] == 0


def assert_equal(tail, full, run):
    """Of the evaluations `run` of the full schedule, to the bit."""
    for field in ("timesteps", "input_scales", "matrices", "x0_weights"):
        np.testing.assert_array_equal(getattr(tail, field), getattr(full, field)[run])
    levels = slice(run.start, None)
    np.testing.assert_array_equal(tail.alphas, full.alphas[levels])
    np.testing.assert_array_equal(tail.sigmas, full.sigmas[levels])


@pytest.mark.parametrize("begin", [1, 4, 9])
@pytest.mark.parametrize("name", MEMORYLESS)
def test_a_memoryless_sampler_s_tail(name, begin):
    """From the full run's state it is the full run, to the bit."""
    full = make_schedule(name, ScheduleConfig(), Timesteps(10))
    tail = make_schedule(name, ScheduleConfig(), Timesteps(10, strength=(10 - begin) / 10))
    first = begin * (2 if name == "heun" else 1)
    assert_equal(tail, full, slice(first, None))
    samples = []
    whole = run(full, NOISE, lambda x, x0, index: samples.append(x) or x, 0)
    again = run(tail, samples[first - 1], None, first)
    assert tail.init_noise_sigma == 1
    np.testing.assert_array_equal(whole, again)


def run(schedule, x, on_step, offset):
    """Step by step in fp32, the draws numbered by the full run's evaluations."""
    times = schedule.timesteps
    state = samplers.initial_state(jnp.asarray(x, jnp.float32), schedule)
    for i, matrix in enumerate(schedule.matrices):
        x_in = state[0] * schedule.input_scales[i]
        noise = jnp.asarray(DRAWS[i + offset], jnp.float32) if schedule.stochastic else None
        state = samplers.update(state, network(x_in, times[i], jnp), matrix, noise)
        if on_step:
            on_step(state[0], None, i)
    return state[0]


@pytest.mark.parametrize("name", ["lms", "dpm++2m", "dpm++2m-sde", "dpmsolver", "unipc"])
def test_multistep_samplers_restart_at_order_one(name):
    """The first step uses the present evaluation alone, the second one more."""
    schedule = make_schedule(name, ScheduleConfig(), Timesteps(20, strength=0.5))
    state = np.abs(schedule.matrices[:, 0, :-2])
    used = (state > 0).sum(1)
    assert used[0] == 1 and len(schedule.timesteps) == 10
    whole = make_schedule(name, ScheduleConfig(), Timesteps(20))
    np.testing.assert_array_equal(schedule.matrices[4:], whole.matrices[14:])


@pytest.mark.parametrize("skip", [True, False])
def test_pndm_restarts(skip):
    """A restart is the method itself on the grid's tail: with the true noise it finds the clip."""
    file = {"_class_name": "PNDMScheduler", **LATENT, "skip_prk_steps": skip}
    config = scheduler_config.read_schedule(file, "scheduler_config.json")
    timesteps = Timesteps(20, strength=0.5)
    schedule = make_schedule("pndm", config, timesteps)
    assert len(schedule.timesteps) == 10 + (1 if skip else 9)
    assert schedule.timesteps[0] == 451
    check_true_noise(schedule, 0.15)
    if not skip:
        with pytest.raises(
            InputError, match="steps is 20, of which strength runs 3: .* at least 4"
        ):
            make_schedule("pndm", config, Timesteps(20, strength=0.15))


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_with_the_true_noise_the_known_clip_returns(name, strength):
    if name == "pndm" and strength < 0.2:
        return
    schedule = make_schedule(name, ScheduleConfig(), Timesteps(20, strength=strength))
    # DDIM and PNDM end at the first training step, which keeps a little noise.
    check_true_noise(schedule, 0.15 if name in ("ddim", "pndm") else 2e-3)


def check_true_noise(schedule, atol):
    """The network that knows the clip leads from `noise_to_start` back to it."""
    x0, noise = X0.astype(np.float32), NOISE.astype(np.float32)
    alphas = jnp.asarray(schedule.alphas * np.append(schedule.input_scales, 1))
    sigmas = jnp.asarray(schedule.sigmas * np.append(schedule.input_scales, 1))
    result = samplers.sample(
        lambda x, i: (x - alphas[i] * x0) / sigmas[i],
        noise_to_start(schedule, x0, noise),
        schedule,
        lambda i: jnp.asarray(DRAWS, jnp.float32)[i],
    )
    np.testing.assert_allclose(result, x0, atol=atol)


def test_a_spacing_beside_the_file_s():
    config = ScheduleConfig()
    trailing = make_schedule("euler", config, Timesteps(10, "trailing"))
    np.testing.assert_array_equal(trailing.timesteps, np.arange(999, 0, -100))
    leading = make_schedule("euler", config, Timesteps(10))
    np.testing.assert_array_equal(leading.timesteps, np.arange(901, 0, -100))


@pytest.mark.parametrize("name", ["ddim", "euler-a", "lms", "unipc"])
def test_values_of_a_grid_are_the_grid(name):
    """Where diffusers' class takes none: the values of a spaced grid give the same schedule."""
    spaced = make_schedule(name, ScheduleConfig(), Timesteps(10))
    values = tuple(int(t) for t in spaced.timesteps)
    given = make_schedule(name, ScheduleConfig(), Timesteps(values=values))
    for mine, theirs in zip(given.matrices[:-1], spaced.matrices[:-1]):
        assert_close(mine, theirs, 1e-6)


KARRAS = dict(use_karras_sigmas=True)


@pytest.mark.parametrize(
    "name, entries, timesteps, message",
    [
        ("ddim", {}, Timesteps(), "either a count of steps or their values"),
        ("ddim", {}, Timesteps(4, values=(3, 2)), "either a count of steps or their values"),
        ("ddim", {}, Timesteps(0), "steps is 0: it must be an integer from 1 to 1000"),
        ("ddim", {}, Timesteps(4, "even"), "spacing is 'even': .* leading trailing linspace"),
        ("ddim", {}, Timesteps(4, strength=0.0), "strength is 0.0: .* above 0 and at most 1"),
        ("ddim", {}, Timesteps(4, strength=1.5), "strength is 1.5"),
        ("ddim", {}, Timesteps(4, strength=0.2), "of 4 steps it runs none; take at least 0.25"),
        ("ddim", {}, Timesteps(3, strength=0.2), "of 3 steps it runs none; take at least 0.33334"),
        ("ddim", {}, Timesteps(values=()), "must be integers from 0 to 999"),
        ("ddim", {}, Timesteps(values=(1000, 5)), "must be integers from 0 to 999"),
        ("ddim", {}, Timesteps(values=(500, 500)), "must descend"),
        ("ddim", {}, Timesteps(spacing="leading", values=(5, 3)), "given by value have none"),
        ("pndm", {}, Timesteps(values=(5, 4, 3, 2)), "sampler pndm: .* a grid of equal steps"),
        ("euler", KARRAS, Timesteps(values=(5, 3)), "use_karras_sigmas is True, a grid of its own"),
        ("unipc", KARRAS, Timesteps(values=(5, 3)), "use_karras_sigmas is True, a grid of its own"),
        ("dpmsolver", dict(use_lu_lambdas=True), Timesteps(values=(5, 3)), "use_lu_lambdas"),
        (
            "euler",
            dict(interpolation_type="log_linear"),
            Timesteps(values=(5, 3)),
            "interpolation_type is 'log_linear'",
        ),
    ],
)
def test_timesteps_that_cannot_be(name, entries, timesteps, message):
    config = ScheduleConfig() if name == "pndm" else read(name, **entries)[0]
    with pytest.raises(InputError, match=message):
        make_schedule(name, config, timesteps)
