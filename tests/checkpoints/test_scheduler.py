"""scheduler_config.json: what is read, what is refused by name, and what is written."""

import dataclasses
import inspect
import json
import math
import random
import warnings

import diffusers
import numpy as np
import pytest

from audioldm2_jax.checkpoints import hub, scheduler
from audioldm2_jax.diffusion.registry import SAMPLERS, make_schedule
from audioldm2_jax.diffusion.timesteps import Timesteps
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig, SolverConfig

DDIM = {"_class_name": "DDIMScheduler", "clip_sample": False}
ALL = {
    name: getattr(diffusers, name)
    for name in dir(diffusers)
    if name.endswith("Scheduler") and inspect.isclass(getattr(diffusers, name))
}


def signature(kind) -> dict:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("self", "args", "kwargs")}


@pytest.mark.parametrize("name", scheduler.DEFAULTS)
def test_defaults_are_diffusers(name):
    assert scheduler.DEFAULTS[name] == signature(ALL[name])


def test_solver_defaults_are_diffusers():
    """But for what the published DDIM file says, and for two words."""
    ours = dataclasses.asdict(SolverConfig()) | {"disable_corrector": []}
    own = {"clip_sample", "set_alpha_to_one", "variance_type", "solver_type"}
    for defaults in scheduler.DEFAULTS.values():
        for name in (ours.keys() & defaults.keys()) - own:
            assert defaults[name] == ours[name], name


def test_left_over_entries_are_known():
    """diffusers drops what another class has left in a file; so do we."""
    kinds = [*diffusers.DDIMScheduler._get_compatibles(), ALL["LCMScheduler"], ALL["TCDScheduler"]]
    names = set().union(*map(signature, kinds))
    names |= {"noise_sampler_seed"}  # of a class that is a dummy without torchsde
    assert names == scheduler.ENTRIES | scheduler._LEFT_OVER
    ignored = dict.fromkeys(scheduler._LEFT_OVER, 1) | {"skip_prk_steps": True, "solver_order": 3}
    expected = scheduler.read_schedule(DDIM, "f")
    solver = dataclasses.replace(expected.solver, skip_prk_steps=True, solver_order=3)
    assert scheduler.read_schedule(DDIM | ignored, "f") == dataclasses.replace(
        expected, solver=solver
    )


@pytest.mark.parametrize(
    "name", [*sorted(ALL.keys() - scheduler.DEFAULTS.keys()), "X\nY", 3, None, []]
)
def test_other_classes_are_refused_by_name(name):
    with pytest.raises(InputError, match="_class_name is") as caught:
        scheduler.read_schedule(DDIM | {"_class_name": name}, "f.json")
    message = str(caught.value)
    assert message.startswith("f.json: ") and "\n" not in message
    assert not isinstance(name, str) or name.split("\n")[0] in message


def test_the_class_fills_what_is_absent():
    schedule = scheduler.read_schedule(DDIM, "f")
    assert (schedule.beta_schedule, schedule.beta_start, schedule.beta_end) == (
        "linear",
        1e-4,
        0.02,
    )
    assert schedule.solver.set_alpha_to_one and schedule.timestep_spacing == "leading"
    heun = scheduler.read_schedule({"_class_name": "HeunDiscreteScheduler"}, "f")
    assert (heun.beta_start, heun.timestep_spacing) == (0.00085, "linspace")
    for kind in ("DDIMScheduler", "DDPMScheduler"):
        with pytest.raises(InputError, match="clip_sample is True"):
            scheduler.read_schedule({"_class_name": kind}, "f")
    unset = DDIM | {"beta_start": 0.5, "_use_default_values": ["beta_start"]}
    assert scheduler.read_schedule(unset, "f").beta_start == 1e-4


def test_the_published_file_is_the_default():
    published = DDIM | dict(
        _diffusers_version="0.21.0.dev0",
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        beta_start=0.0015,
        clip_sample_range=1.0,
        dynamic_thresholding_ratio=0.995,
        num_train_timesteps=1000,
        prediction_type="epsilon",
        rescale_betas_zero_snr=False,
        sample_max_value=1.0,
        set_alpha_to_one=False,
        steps_offset=1,
        thresholding=False,
        timestep_spacing="leading",
        trained_betas=None,
    )
    assert scheduler.read_schedule(published, "f") == ScheduleConfig()


BAD = [
    *[("num_train_timesteps", value) for value in (0, -5, 10**9, 1e3, "1000", True, None, [1000])],
    *[("beta_start", value) for value in (0, -1e-4, 1, 2.0, "0.1", math.nan, math.inf, None, True)],
    *[("beta_end", value) for value in (0, -0.1, 1.5, [0.02], 10**400)],
    *[("beta_schedule", value) for value in ("cosine", None, 3, "sigmoid", "laplace", "exp")],
    *[("trained_betas", value) for value in ([], [0.1], [0.1] * 999 + ["a"], [math.nan] * 1000, 3)],
    ("trained_betas", [0.1] * 1001),
    ("trained_betas", [0.5] * 1000),
    ("trained_betas", [1.0] * 1000),
    *[("prediction_type", value) for value in ("flow_prediction", "v", "original_sample", None, 1)],
    *[("steps_offset", value) for value in (-1, 1.0, 1000, 10**400, "1", None, True)],
    *[("timestep_spacing", value) for value in ("log", None, 1)],
    *[("clip_sample", value) for value in (True, None, 1, "false")],
    *[("thresholding", value) for value in (True, None, 0)],
    *[("set_alpha_to_one", value) for value in (None, "yes", 1)],
    *[("rescale_betas_zero_snr", value) for value in (None, 1)],
    *[("solver_order", value) for value in (0, 4, 2.0, "2", None, True)],
    *[("algorithm_type", value) for value in ("sde", None)],
    *[("solver_type", value) for value in ("euler", 2)],
    *[("final_sigmas_type", value) for value in ("one", 0)],
    *[("use_karras_sigmas", value) for value in (None, 1, "true")],
    *[("sigma_min", value) for value in (0, -1.0, math.nan, math.inf, "x", 10**400)],
    *[("lambda_min_clipped", value) for value in (math.nan, math.inf, None, 10**400)],
    *[("disable_corrector", value) for value in (None, 3, [-1], ["a"], [0.5])],
    *[("use_flow_sigmas", True), ("use_dynamic_shifting", True), ("solver_p", {})],
    *[("shift_terminal", 0.1), ("interpolation_type", "cubic"), ("timestep_type", "x")],
    *[("clip_sample_range", "x"), ("variance_type", "none")],
    *[("sampler", "euler"), ("betas", [0.1]), ("quantization_config", {})],
]


@pytest.mark.parametrize("name, value", BAD, ids=lambda value: repr(value)[:30])
def test_bad_entries_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"{name} ") as caught:
        scheduler.read_schedule(DDIM | {name: value}, "dir/f.json")
    message = str(caught.value)
    assert message.startswith("dir/f.json: ") and "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    "kind, entries, message",
    [
        ("DPMSolverMultistep", dict(algorithm_type="dpmsolver"), "final_sigmas_type is 'zero'"),
        ("DPMSolverMultistep", dict(algorithm_type="deis"), "algorithm_type is 'deis'"),
        ("DPMSolverMultistep", dict(variance_type="learned"), "variance_type is 'learned'"),
        (
            "DPMSolverMultistep",
            dict(algorithm_type="sde-dpmsolver", solver_order=3, final_sigmas_type="sigma_min"),
            "solver_order is 3",
        ),
        ("DPMSolverMultistep", dict(use_karras_sigmas=True, use_beta_sigmas=True), "both True"),
        ("UniPCMultistep", dict(solver_type="bh1"), "solver_type is 'bh1'"),
        ("UniPCMultistep", dict(predict_x0=False), "predict_x0 is False"),
        ("UniPCMultistep", dict(lower_order_final=False), "lower_order_final is False"),
        ("UniPCMultistep", dict(sigma_min=3.0, sigma_max=2.0), "sigma_min is 3.0"),
        ("DDPM", dict(variance_type="fixed_large_log", clip_sample=False), "fixed_large_log"),
        ("DDPM", dict(variance_type="learned_range", clip_sample=False), "learned_range"),
        ("PNDM", dict(prediction_type="sample"), "prediction_type is 'sample'"),
        ("EulerAncestralDiscrete", dict(prediction_type="sample"), "prediction_type is 'sample'"),
        ("HeunDiscrete", dict(clip_sample=True), "clip_sample is True"),
        (
            "HeunDiscrete",
            dict(num_train_timesteps=1, use_karras_sigmas=True),
            "num_train_timesteps",
        ),
    ],
)
def test_what_a_class_cannot_do_is_refused_by_name(kind, entries, message):
    with pytest.raises(InputError, match=f"^f.json: .*{message}"):
        scheduler.read_schedule({"_class_name": f"{kind}Scheduler"} | entries, "f.json")


def test_a_sampler_that_cannot_follow_the_file_says_so():
    schedule = scheduler.read_schedule(
        DDIM | dict(rescale_betas_zero_snr=True, prediction_type="v_prediction"), "f"
    )
    for name in ("pndm", "heun", "lms"):
        with pytest.raises(InputError, match=f"sampler {name}: rescale_betas_zero_snr"):
            make_schedule(name, schedule, Timesteps(10))
    epsilon = dataclasses.replace(schedule, prediction_type="epsilon", timestep_spacing="trailing")
    with pytest.raises(InputError, match="rescale_betas_zero_snr"):
        make_schedule("ddim", epsilon, Timesteps(10))
    far = dataclasses.replace(ScheduleConfig(), steps_offset=500)
    for name in SAMPLERS:
        with pytest.raises(InputError, match="steps_offset is 500"):
            make_schedule(name, far, Timesteps(10))
    trailing = ScheduleConfig(train_steps=15, timestep_spacing="trailing", steps_offset=0)
    with pytest.raises(InputError, match="steps is 13"):
        make_schedule("ddim", trailing, Timesteps(13))


VALUES = [None, True, 0, 1, 2, 3, -1, 7.5, 1e-3, 0.02, 1e300, math.nan, math.inf, "", "x", [], [1]]
VALUES += [{}, [[]], "zero", "linear", "bh1", "sample", "trailing", "heun", 50, 10**400, [0.1] * 50]


def test_no_file_ends_in_anything_but_an_error_of_ours():
    rng, read = random.Random(0), 0
    for _ in range(3000):
        kind = rng.choice(list(scheduler.DEFAULTS))
        file = {"_class_name": kind, "num_train_timesteps": rng.choice([50, 1000])}
        file |= {"clip_sample": False} | dict.fromkeys(
            rng.sample(sorted(scheduler.ENTRIES), rng.choice([1, 1, 2]))
        )
        file = {k: rng.choice(VALUES) if v is None else v for k, v in file.items()}
        try:
            schedule = scheduler.read_schedule(json.loads(json.dumps(file)), "f")
            read += 1
            sampling = make_schedule(
                rng.choice(list(SAMPLERS)), schedule, Timesteps(rng.choice([1, 4, 10, 49, 50]))
            )
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
        else:
            arrays = (sampling.matrices, sampling.timesteps, sampling.input_scales)
            assert all(np.isfinite(x).all() for x in arrays)
    assert read > 100


def test_what_no_file_says_is_not_written():
    for sampler in ("ddim", "dpm++2m-x"):
        with pytest.raises(InputError, match="cannot be a model's own"):
            scheduler.write_schedule(ScheduleConfig(sampler=sampler))
    with pytest.raises(InputError, match="solver_order is 9"):
        scheduler.write_schedule(ScheduleConfig(solver=SolverConfig(solver_order=9)))


def folder_with(tmp_path, file, index="DDIMScheduler"):
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(file))
    (tmp_path / "model_index.json").write_text(json.dumps({"scheduler": ["diffusers", index]}))
    return tmp_path


def test_the_index_names_the_class_that_the_file_does_not(tmp_path):
    folder = folder_with(tmp_path, {}, "UniPCMultistepScheduler")
    assert hub._read_schedule(folder).sampler == "unipc"


def test_a_class_beside_the_index_s_is_told(tmp_path):
    folder = folder_with(tmp_path, {"_class_name": "EulerDiscreteScheduler"})
    with pytest.warns(UserWarning, match="EulerDiscreteScheduler.*DDIMScheduler"):
        assert hub._read_schedule(folder).sampler == "euler"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(DDIM))
        assert hub._read_schedule(folder).sampler == "dpm++2m"


def test_a_large_schedule_is_bounded():
    schedule = scheduler.read_schedule(DDIM | {"num_train_timesteps": 20000, "beta_end": 2e-3}, "f")
    assert np.isfinite(make_schedule("euler", schedule, Timesteps(10)).matrices).all()


@pytest.mark.parametrize(
    "kind, entries",
    [
        ("PNDMScheduler", {"thresholding": True}),
        ("PNDMScheduler", {"use_karras_sigmas": True, "rescale_betas_zero_snr": True}),
        ("EulerAncestralDiscreteScheduler", {"use_karras_sigmas": True}),
        ("DDPMScheduler", {"solver_order": 3}),
    ],
)
def test_entries_of_other_classes_are_warned_of(kind, entries):
    file = {"_class_name": kind, "use_exponential_sigmas": False, "solver_type": "midpoint"}
    file |= {"clip_sample": False} if kind == "DDPMScheduler" else {}
    with pytest.warns(UserWarning, match="f.json") as caught:
        scheduler.read_schedule(file | entries, "f.json")
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == len(entries)
    assert all(any(f"f.json: {name} is" in text for text in messages) for name in entries)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.read_schedule(file, "f.json")
