"""diffusers' schedulers as an oracle of scheduler files: random files, and both sides' samples."""

import contextlib
import sys
from unittest import mock

import diffusers
import numpy as np
import torch

from audioldm2_jax.checkpoints.scheduler import DEFAULTS

CHOICES = dict(
    num_train_timesteps=[1000, 1000, 1000, 100, 10, 50, 500, 1024, 2, 3],
    beta_start=[1e-4, 0.0015, 0.00085, 0.005],
    beta_end=[0.02, 0.0195, 0.012],
    beta_schedule=["linear", "scaled_linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"],
    prediction_type=["epsilon", "v_prediction", "sample"],
    timestep_spacing=["leading", "trailing", "linspace"],
    steps_offset=[0, 1, 1, 2],
    rescale_betas_zero_snr=[False, False, True],
    clip_sample=[False] * 19 + [True],
    thresholding=[False] * 19 + [True],
    set_alpha_to_one=[True, False],
    variance_type=["fixed_small", "fixed_small_log", "fixed_large", "learned"],
    skip_prk_steps=[True, False],
    interpolation_type=["linear", "log_linear"],
    use_karras_sigmas=[False, False, True],
    use_exponential_sigmas=[False, False, False, True],
    use_beta_sigmas=[False, False, False, True],
    use_lu_lambdas=[False, False, True],
    use_flow_sigmas=[False] * 19 + [True],
    final_sigmas_type=["zero", "sigma_min"],
    sigma_min=[None, None, 0.05],
    sigma_max=[None, None, 10.0],
    timestep_type=["discrete", "continuous"],
    solver_order=[1, 2, 3],
    algorithm_type=["dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"],
    solver_type=["midpoint", "heun", "bh1", "bh2", "logrho"],
    lower_order_final=[True, False],
    euler_at_final=[True, False],
    lambda_min_clipped=[-float("inf"), -5.1],
    predict_x0=[True, True, False],
    disable_corrector=[[], [], [0], [0, 1, 2]],
)


def random_file(rng) -> dict:
    """A scheduler file of one class: some of its entries, seldom one left of another class."""
    kind = rng.choice(list(DEFAULTS))
    entries = {"_class_name": kind}
    for name in DEFAULTS[kind]:
        if name in CHOICES and rng.random() < 0.55:
            entries[name] = rng.choice(CHOICES[name])
    if "clip_sample" in DEFAULTS[kind]:
        entries.setdefault("clip_sample", False)
    if rng.random() < 0.1:
        name = rng.choice(list(CHOICES))
        entries[name] = rng.choice(CHOICES[name])
    if rng.random() < 0.1:
        steps = entries.get("num_train_timesteps", 1000)
        entries["trained_betas"] = [float(b) for b in np.linspace(0.001, 0.02, steps)]
    return entries


def network(x, t, xp):
    """A made-up predictor: bounded, not linear, different at every timestep."""
    return xp.sin(1.3 * x + 0.01 * t) + 0.3 * x


def run_schedule(schedule, x, draws, timesteps):
    """The schedule in float64, with the network asked at these timesteps. x: [...] unit noise."""
    state = np.zeros((schedule.matrices.shape[1], *x.shape))
    state[0] = x * float(schedule.init_noise_sigma)
    for i, t in enumerate(timesteps):
        output = network(state[0] * float(schedule.input_scales[i]), t, np)
        parts = np.concatenate([state, output[None], draws[i][None]])
        state = np.einsum("mk,k...->m...", schedule.matrices[i].astype(float), parts)
    return state[0]


def run_diffusers(scheduler, steps, x, draws, eta=0.0):
    """(the sample, the timesteps asked)."""
    scheduler.set_timesteps(steps)
    initial = float(scheduler.init_noise_sigma)
    if hasattr(scheduler, "set_begin_index"):  # else it is looked up by the first timestep's value
        scheduler.set_begin_index(0)
    if hasattr(scheduler, "sigmas"):  # their float32 loses digits where much noise is left
        scheduler.sigmas = scheduler.sigmas.double()
    sample = torch.tensor(x).double() * initial
    for i, t in enumerate(scheduler.timesteps):
        output = network(scheduler.scale_model_input(sample, t).double(), float(t), torch)
        extra = dict(eta=eta, variance_noise=torch.tensor(draws[i])) if eta else {}
        with draw_noise(scheduler, draws[i]):
            sample = scheduler.step(output, t, sample, **extra).prev_sample.double()
    return sample.numpy(), [float(t) for t in scheduler.timesteps]


@contextlib.contextmanager
def draw_noise(scheduler, noise):
    """The scheduler's steps draw this noise."""
    module = sys.modules[type(scheduler).__module__]
    if not hasattr(module, "randn_tensor"):
        yield
        return
    with mock.patch.object(module, "randn_tensor", return_value=torch.tensor(noise)):
        yield


def scheduler_of(entries: dict, kind: str | None = None, **changes):
    """diffusers' own, of the file's class or converted to another one."""
    scheduler = getattr(diffusers, entries["_class_name"]).from_config(dict(entries))
    if kind is None:
        return scheduler
    return getattr(diffusers, kind).from_config(scheduler.config, **changes)
