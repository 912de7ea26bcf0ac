"""Every scheduler file is sampled as in diffusers, or refused by name."""

import inspect
import json
import random

import diffusers
import numpy as np
import pytest

from audioldm2_jax.checkpoints import scheduler
from audioldm2_jax.checkpoints.scheduler import DEFAULTS
from audioldm2_jax.diffusion.registry import make_schedule
from audioldm2_jax.diffusion.timesteps import Timesteps
from audioldm2_jax.errors import InputError
from tests.diffusion.scheduler_files import (
    CHOICES,
    random_file,
    run_diffusers,
    run_schedule,
    scheduler_of,
)

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = [1, 2, 3, 4, 5, 10, 14, 15, 25, 50]
X = np.random.default_rng(0).standard_normal((1, 2, 3, 4))
DRAWS = np.random.default_rng(1).standard_normal((120, *X.shape))
LATENT = dict(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", steps_offset=1)


def read(entries):
    return scheduler.read_schedule(json.loads(json.dumps(entries)), "scheduler_config.json")


def own_sampler(schedule, kind):
    """Of the file's class: a DDIM file stands for another sampler."""
    return "ddim" if kind == "DDIMScheduler" else schedule.sampler


def compare(ours, scheduler, steps, eta=0.0):
    expected, evaluated = run_diffusers(scheduler, steps, X, DRAWS, eta)
    if not np.isfinite(expected).all():
        return None
    assert len(evaluated) == len(ours.timesteps)
    # Theirs are rounded from sigmas of float32, whose last bit may decide.
    assert np.abs(np.subtract(evaluated, ours.timesteps)).max() <= 1
    assert np.mean(np.abs(np.subtract(evaluated, ours.timesteps)) > 0.1) <= 0.5
    error = np.abs(run_schedule(ours, X, DRAWS, evaluated) - expected).max()
    return error / np.abs(expected).max()


def drops_the_offset(schedule, steps):
    """The one place where we differ: an offset of 1 has no room in a grid of every step."""
    return schedule.timestep_spacing == "leading" and steps >= schedule.train_steps - 1


def check(entries, steps, eta=0.0):
    """'agrees', 'refused', or 'theirs fails'."""
    kind = entries["_class_name"]
    try:
        schedule = read(entries)
        ours = make_schedule(own_sampler(schedule, kind), schedule, Timesteps(steps), eta=eta)
    except InputError as error:
        assert "\n" not in str(error)
        return "refused"
    if drops_the_offset(schedule, steps):
        return "theirs fails"
    written = json.loads(json.dumps(scheduler.write_schedule(schedule)))
    assert read(written) == schedule
    for file in (entries, written):
        error = compare(ours, scheduler_of(file), steps, eta)
        assert error is None or error < 3e-3, (error, file, steps)
    return "agrees" if error is not None else "theirs fails"


def test_random_files():
    rng, outcomes = random.Random(0), []
    for _ in range(500):
        entries, steps = random_file(rng), rng.choice(STEPS)
        eta = rng.choice([0.0, 0.5]) if entries["_class_name"] == "DDIMScheduler" else 0.0
        outcomes.append(check(entries, steps, eta))
    assert outcomes.count("agrees") > 200 and outcomes.count("theirs fails") < 25


DPM, UNIPC, EULER = (
    f"{name}Scheduler" for name in ("DPMSolverMultistep", "UniPCMultistep", "EulerDiscrete")
)
FOLLOWED = [
    *[(DPM, dict(solver_order=order)) for order in (1, 2, 3)],
    *[(DPM, dict(solver_type="heun", solver_order=order)) for order in (2, 3)],
    *[
        (DPM, dict(algorithm_type=kind, final_sigmas_type="sigma_min", solver_order=order))
        for kind in ("dpmsolver", "sde-dpmsolver", "sde-dpmsolver++")
        for order in (1, 2)
    ],
    (DPM, dict(algorithm_type="sde-dpmsolver++", solver_order=3)),
    (DPM, dict(euler_at_final=True, lower_order_final=False, final_sigmas_type="sigma_min")),
    (DPM, dict(use_lu_lambdas=True)),
    (DPM, dict(lambda_min_clipped=-5.1, beta_schedule="squaredcos_cap_v2")),
    *[
        (kind, {f"use_{grid}_sigmas": True})
        for kind in (DPM, UNIPC, EULER, "HeunDiscreteScheduler", "LMSDiscreteScheduler")
        for grid in ("karras", "exponential", "beta")
    ],
    (EULER, dict(interpolation_type="log_linear")),
    (EULER, dict(interpolation_type="log_linear", use_karras_sigmas=True)),
    (EULER, dict(final_sigmas_type="sigma_min")),
    (EULER, dict(timestep_type="continuous", prediction_type="v_prediction")),
    (EULER, dict(use_karras_sigmas=True, sigma_min=0.1, sigma_max=5.0)),
    ("EulerAncestralDiscreteScheduler", dict()),
    *[(UNIPC, dict(solver_order=order)) for order in (1, 2, 3)],
    (UNIPC, dict(solver_type="bh1", final_sigmas_type="sigma_min")),
    (UNIPC, dict(predict_x0=False, final_sigmas_type="sigma_min")),
    (UNIPC, dict(disable_corrector=[0, 1])),
    ("PNDMScheduler", dict(skip_prk_steps=True)),
    ("PNDMScheduler", dict(skip_prk_steps=True, set_alpha_to_one=True)),
    ("DDIMScheduler", dict(set_alpha_to_one=True)),
    *[("DDPMScheduler", dict(variance_type=f"fixed_{v}")) for v in ("small_log", "large")],
    ("DDIMScheduler", dict(rescale_betas_zero_snr=True, prediction_type="v_prediction")),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind, entries", FOLLOWED, ids=str)
def test_what_is_followed(kind, entries):
    entries = {"_class_name": kind, "clip_sample": False, **LATENT, **entries}
    for steps, spacing in zip(
        (1, 2, 3, 5, 25, 25, 25, 50), ("leading", "trailing", "linspace") * 3
    ):
        outcome = check(entries | {"timestep_spacing": spacing}, steps)
        assert outcome == "agrees", (outcome, steps, spacing)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("kind", DEFAULTS)
def test_predictions(kind, prediction):
    entries = {"_class_name": kind, "clip_sample": False, **LATENT}
    outcome = check(entries | {"prediction_type": prediction}, 10)
    unknown = prediction == "sample" and kind in (
        "PNDMScheduler",
        "EulerAncestralDiscreteScheduler",
    )
    assert outcome == ("refused" if unknown else "agrees")


# Values beside those of the random files, among them all that are not followed.
OTHER_CHOICES = dict(
    thresholding=[True],
    dynamic_thresholding_ratio=[0.9],
    sample_max_value=[2.0],
    clip_sample=[True],
    clip_sample_range=[2.0],
    use_flow_sigmas=[True],
    flow_shift=[3.0],
    use_dynamic_shifting=[True],
    time_shift_type=["linear", "cubic"],
    solver_p=["DDIMScheduler"],
    shift_terminal=[0.1],
    trained_betas=[[float(b) for b in np.linspace(0.001, 0.02, 1000)], [0.1, 0.2]],
    num_train_timesteps=[100, 1024, 0],
    beta_schedule=["linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp", "cosine"],
    prediction_type=["v_prediction", "sample", "flow_prediction"],
    timestep_spacing=["leading", "trailing", "linspace", "even"],
    algorithm_type=["dpmsolver", "sde-dpmsolver++", "sde-dpmsolver", "deis"],
    variance_type=["fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"],
    solver_order=[1, 3, 4],
    final_sigmas_type=["sigma_min", "denoise"],
    interpolation_type=["log_linear", "cubic"],
)


def fields(kind) -> list[str]:
    """All entries of diffusers' class itself."""
    return list(inspect.signature(getattr(diffusers, kind).__init__).parameters)[1:]


@pytest.mark.parametrize("kind", DEFAULTS)
def test_no_field_is_ignored(kind):
    """Each entry of the class with each of its values: sampled as diffusers does, or refused by
    name. An entry that a new diffusers brings fails here until someone decides."""
    for name in fields(kind):
        values = OTHER_CHOICES.get(name) or CHOICES.get(name)
        assert values, f"{name}: no value of it is tried"
        for value in values:
            entries = {"_class_name": kind, "clip_sample": False, **LATENT, name: value}
            if "clip_sample" not in fields(kind):
                del entries["clip_sample"]
            try:
                outcome = check(entries, 10)
            except NotImplementedError as error:
                raise AssertionError(f"{name} {value}: diffusers refuses, we do not") from error
            assert outcome == "agrees" or name in refusal(entries), (name, value, outcome)


def refusal(entries) -> str:
    """The line in which a file is refused."""
    with pytest.raises(InputError) as caught:
        schedule = read(entries)
        make_schedule(own_sampler(schedule, entries["_class_name"]), schedule, Timesteps(10))
    return str(caught.value)


OTHERS = {
    "ddim": ("DDIMScheduler", dict(clip_sample=False)),
    "ddpm": ("DDPMScheduler", dict(clip_sample=False)),
    "pndm": ("PNDMScheduler", {}),
    "euler": (EULER, {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm++2m": (DPM, dict(algorithm_type="dpmsolver++", solver_order=2)),
    "dpm++2m-sde": (DPM, dict(algorithm_type="sde-dpmsolver++", solver_order=2)),
    "dpmsolver": (DPM, {}),
    "unipc": (UNIPC, {}),
}


def test_another_sampler_takes_the_file_s_process():
    """As diffusers' `from_config`, where the file says betas and spacing itself."""
    rng, agreed = random.Random(1), 0
    for _ in range(300):
        entries, steps, name = random_file(rng), rng.choice(STEPS), rng.choice(list(OTHERS))
        entries = LATENT | {"timestep_spacing": rng.choice(["leading", "trailing"])} | entries
        if entries["_class_name"] == DPM and name == "dpmsolver":
            continue  # the class' own, which the random files try
        if entries.get("beta_schedule") == "sigmoid":
            continue  # which other classes of diffusers do not know
        try:
            schedule = read(entries)
            ours = make_schedule(name, schedule, Timesteps(steps))
        except InputError:
            continue
        if drops_the_offset(schedule, steps):
            continue
        kind, changes = OTHERS[name]
        # What the file's class does not know is not part of its process.
        for entry in ("rescale_betas_zero_snr", "set_alpha_to_one"):
            if entry in DEFAULTS[kind]:
                value = getattr(schedule, entry, getattr(schedule.solver, entry, None))
                changes = changes | {entry: value}
        error = compare(ours, scheduler_of(entries, kind, **changes), steps)
        assert error is None or error < 3e-3, (error, name, entries, steps)
        agreed += error is not None
    assert agreed > 80
