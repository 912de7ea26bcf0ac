"""diffusers' scheduler_config.json: every entry is followed, or refused by name.

Missing entries have the defaults of the file's class. `docs/samplers.md` lists what is followed.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from audioldm2_jax.checkpoints.config_entries import DIFFUSERS_VERSION
from audioldm2_jax.diffusion import registry, schedules
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig, SolverConfig

# The entries of diffusers' classes with their defaults (a test compares them with diffusers').
_PROCESS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "steps_offset": 0,
}
_THRESHOLD = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
_CLIP = {"clip_sample": True, "clip_sample_range": 1.0}
_SIGMAS = dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"), False)
_FLOW = {
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}
_ZERO_SNR = {"rescale_betas_zero_snr": False}
_LEADING = {"timestep_spacing": "leading"}
_LINSPACE = {"timestep_spacing": "linspace"}
_FINAL = {"final_sigmas_type": "zero"}
_MULTISTEP = _PROCESS | _THRESHOLD | _SIGMAS | _FLOW | _LINSPACE | _ZERO_SNR | _FINAL
_MULTISTEP |= {"solver_order": 2, "lower_order_final": True}
DEFAULTS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": _PROCESS
    | _CLIP
    | _THRESHOLD
    | _LEADING
    | _ZERO_SNR
    | {"set_alpha_to_one": True},
    "DDPMScheduler": _PROCESS
    | _CLIP
    | _THRESHOLD
    | _LEADING
    | _ZERO_SNR
    | {"variance_type": "fixed_small"},
    "PNDMScheduler": _PROCESS | _LEADING | {"skip_prk_steps": False, "set_alpha_to_one": False},
    "EulerDiscreteScheduler": _PROCESS
    | _SIGMAS
    | _LINSPACE
    | _ZERO_SNR
    | _FINAL
    | {
        "interpolation_type": "linear",
        "timestep_type": "discrete",
        "sigma_min": None,
        "sigma_max": None,
    },
    "EulerAncestralDiscreteScheduler": _PROCESS | _LINSPACE | _ZERO_SNR,
    "HeunDiscreteScheduler": _PROCESS
    | _SIGMAS
    | _LINSPACE
    | {"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False, "clip_sample_range": 1.0},
    "LMSDiscreteScheduler": _PROCESS | _SIGMAS | _LINSPACE,
    "DPMSolverMultistepScheduler": _MULTISTEP
    | {
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "euler_at_final": False,
        "use_lu_lambdas": False,
        "lambda_min_clipped": -math.inf,
        "variance_type": None,
    },
    "UniPCMultistepScheduler": _MULTISTEP
    | {
        "solver_type": "bh2",
        "predict_x0": True,
        "disable_corrector": [],
        "solver_p": None,
        "sigma_min": None,
        "sigma_max": None,
        "shift_terminal": None,
    },
}
# The sampler of each class. A DDIM file, as published, means our default sampler, which agrees with
# diffusers' DPMSolverMultistepScheduler.from_config of that file.
_SAMPLERS = {
    "DDIMScheduler": "dpm++2m",
    "DDPMScheduler": "ddpm",
    "PNDMScheduler": "pndm",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "HeunDiscreteScheduler": "heun",
    "LMSDiscreteScheduler": "lms",
    "DPMSolverMultistepScheduler": "dpmsolver",
    "UniPCMultistepScheduler": "unipc",
}
_CLASSES = {sampler: name for name, sampler in _SAMPLERS.items()}
_CLASSES["dpm++2m-sde"] = "DPMSolverMultistepScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
# Entries of further classes, which diffusers' from_config leaves in files of these classes.
_LEFT_OVER = {
    *("noise_sampler_seed", "original_inference_steps", "rho", "sigma_data", "sigma_schedule"),
    "timestep_scaling",
}

# Checks of values: (description, predicate).
_LARGEST = 100_000
_PREDICTIONS = ("epsilon", "v_prediction", "sample")


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _one_of(*values):
    return " or ".join(map(repr, values)), lambda value: any(
        value is v or value == v for v in values
    )


def _number(low=-math.inf, high=math.inf, what="a finite number"):
    return what, lambda value: _is_number(value) and low < value < high


def _optional(rule):
    what, accepts = rule
    return f"null or {what}", lambda value: value is None or accepts(value)


_FLAG = ("true or false", lambda value: isinstance(value, bool))
_POSITIVE = _number(0, 1e9, "a positive number")
_BETA = _number(0, 1, "a number between 0 and 1")
_NONE = ("null", lambda value: value is None)
_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
_RULES = {
    "num_train_timesteps": (
        f"a whole number from 1 to {_LARGEST}",
        lambda value: _is_count(value) and value > 0,
    ),
    "beta_start": _BETA,
    "beta_end": _BETA,
    "beta_schedule": _one_of(*schedules.BETA_SCHEDULES),
    "trained_betas": (
        "null or a list of numbers between 0 and 1",
        lambda value: value is None or (isinstance(value, list) and all(map(_BETA[1], value))),
    ),
    "prediction_type": _one_of(*_PREDICTIONS),
    "steps_offset": ("a whole number of at least 0", _is_count),
    "timestep_spacing": _one_of("leading", "trailing", "linspace"),
    "solver_order": ("1, 2 or 3", lambda value: _is_count(value) and 1 <= value <= 3),
    "algorithm_type": _one_of(
        "dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"
    ),
    "solver_type": _one_of("midpoint", "heun", "bh1", "bh2", "logrho"),
    "final_sigmas_type": _one_of("zero", "sigma_min"),
    "interpolation_type": _one_of("linear", "log_linear"),
    "timestep_type": _one_of("discrete", "continuous"),
    "time_shift_type": _one_of("exponential", "linear"),
    "variance_type": _one_of(None, *_VARIANCES, "learned", "learned_range"),
    "sigma_min": _optional(_POSITIVE),
    "sigma_max": _optional(_POSITIVE),
    "lambda_min_clipped": (
        "-Infinity or a number",
        lambda value: _is_number(value) and (value == -math.inf or abs(value) < 1e9),
    ),
    "disable_corrector": (
        "a list of whole numbers",
        lambda value: isinstance(value, list) and all(map(_is_count, value)),
    ),
    "use_dynamic_shifting": _one_of(False),
    "solver_p": _NONE,
    "shift_terminal": _NONE,
} | dict.fromkeys(
    ("dynamic_thresholding_ratio", "sample_max_value", "clip_sample_range", "flow_shift"), _number()
)
ENTRIES = frozenset().union(*DEFAULTS.values())


def read_schedule(config: dict, where: str, kind: str | None = None) -> ScheduleConfig:
    """The schedule of a scheduler_config.json.

    where: the file, for messages. kind: the class, for a file that names none. Raises InputError
    with the entry that none of our samplers follows.
    """
    kind = config.get("_class_name", kind)
    if not isinstance(kind, str) or kind not in DEFAULTS:
        raise InputError(f"{where}: _class_name is {kind!r}; supported: {' '.join(DEFAULTS)}")
    unset = config.get("_use_default_values") or []
    entries = {
        name: value
        for name, value in config.items()
        if not name.startswith("_") and not (isinstance(unset, list) and name in unset)
    }
    for name, value in entries.items():
        _check_entry(name, value, where)
    _check_beta_schedule(kind, entries, where)
    _warn_of_left_over(kind, entries, where)
    schedule = _schedule(kind, DEFAULTS[kind] | entries)
    try:
        _check_process(schedule)
        # A DDIM file means another sampler, but its entries must also hold for DDIM.
        for sampler in {schedule.sampler, "ddim" if kind == "DDIMScheduler" else schedule.sampler}:
            registry.check_sampler(sampler, schedule)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return schedule


def _check_entry(name, value, where) -> None:
    if name in _LEFT_OVER:
        return
    if name not in ENTRIES:
        raise InputError(f"{where}: {name} is {_shown(value)}, an entry that no scheduler here has")
    what, accepts = _RULES.get(name, _FLAG)
    if not accepts(value):
        raise InputError(f"{where}: {name} is {_shown(value)}; supported: {what}")


def _warn_of_left_over(kind: str, entries: dict, where: str) -> None:
    """Warns of entries that the class lacks, unless their value is the default of some class."""
    for name in sorted(set(entries) - DEFAULTS[kind].keys() - _LEFT_OVER):
        defaults = [known[name] for known in DEFAULTS.values() if name in known]
        if entries[name] not in defaults:
            warnings.warn(
                f"{where}: {name} is {_shown(entries[name])}, but {kind} has no such entry: only "
                "samplers that have it follow it, as in diffusers",
                stacklevel=4,
            )


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


def _check_beta_schedule(kind, entries, where) -> None:
    """Raises InputError for a beta schedule that only another class has."""
    only = {"sigmoid": "DDPMScheduler", "laplace": "DDPMScheduler", "exp": "HeunDiscreteScheduler"}
    name = entries.get("beta_schedule")
    if only.get(name, kind) != kind and entries.get("trained_betas") is None:
        raise InputError(f"{where}: beta_schedule is {name!r}, which {kind} does not know")


def _schedule(kind: str, full: dict) -> ScheduleConfig:
    """The schedule from a class and all of its entries."""
    solver = {k: v for k, v in full.items() if k in SolverConfig.__dataclass_fields__}
    for name, aliases in _ALIASES.items():
        if name in solver:
            solver[name] = aliases.get(solver[name], solver[name])
    if "disable_corrector" in solver:
        solver["disable_corrector"] = tuple(solver["disable_corrector"])
    sampler = _SAMPLERS[kind]
    if kind == "DPMSolverMultistepScheduler" and _SDE.items() <= solver.items():
        sampler = "dpm++2m-sde"
        solver = {k: v for k, v in solver.items() if k not in _SDE}
    betas = full["trained_betas"]
    return ScheduleConfig(
        train_steps=full["num_train_timesteps"],
        beta_start=float(full["beta_start"]),
        beta_end=float(full["beta_end"]),
        steps_offset=full["steps_offset"],
        sampler=sampler,
        beta_schedule=full["beta_schedule"],
        trained_betas=None if betas is None else tuple(map(float, betas)),
        prediction_type=full["prediction_type"],
        # A class without the entry ignores one that another class left in the file.
        rescale_betas_zero_snr="rescale_betas_zero_snr" in DEFAULTS[kind]
        and full["rescale_betas_zero_snr"],
        timestep_spacing=full["timestep_spacing"],
        solver=SolverConfig(**solver),
    )


# {entry: {value of another class: what this class reads it as}}; bh2 is UniPC's default.
_ALIASES = {
    "solver_type": {"bh2": "midpoint", "logrho": "midpoint"},
    "variance_type": {None: "fixed_small"},
}


def _check_process(schedule: ScheduleConfig) -> None:
    betas, n = schedule.trained_betas, schedule.train_steps
    if betas is not None and len(betas) != n:
        raise InputError(f"trained_betas has {len(betas)} entries for {n} training steps")
    if schedule.steps_offset >= n:
        raise InputError(f"steps_offset is {schedule.steps_offset}; supported: less than {n}")
    if schedule.rescale_betas_zero_snr and n < 2:
        raise InputError("rescale_betas_zero_snr is True; supported: from 2 training steps on")
    solver = schedule.solver
    if None not in (solver.sigma_min, solver.sigma_max) and solver.sigma_min >= solver.sigma_max:
        raise InputError(f"sigma_min is {solver.sigma_min}; supported: less than sigma_max")
    if schedules.sigmas(schedule)[-1] > 1e18:
        name = "beta_end" if betas is None else "trained_betas"
        raise InputError(f"{name} leaves no signal after {n} training steps; take smaller betas")


def scheduler_class(config: ScheduleConfig) -> str:
    """diffusers' class for the schedule's sampler. Raises InputError if there is none."""
    if config.sampler not in _CLASSES:
        raise InputError(
            f"sampler {config.sampler!r} cannot be a model's own: choose one of "
            f"{' '.join(_CLASSES)}"
        )
    return _CLASSES[config.sampler]


def write_schedule(config: ScheduleConfig) -> dict:
    """The scheduler_config.json that `read_schedule` and diffusers read as this schedule.

    Raises InputError for a schedule that no such file expresses.
    """
    kind = scheduler_class(config)
    defaults = _schedule(kind, DEFAULTS[kind]).solver
    written = {
        "_class_name": kind,
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": config.train_steps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "beta_schedule": config.beta_schedule,
        "trained_betas": None if config.trained_betas is None else list(config.trained_betas),
        "prediction_type": config.prediction_type,
        "steps_offset": config.steps_offset,
        "timestep_spacing": config.timestep_spacing,
    }
    if "rescale_betas_zero_snr" in DEFAULTS[kind]:
        written["rescale_betas_zero_snr"] = config.rescale_betas_zero_snr
    for name in SolverConfig.__dataclass_fields__:
        value = getattr(config.solver, name)
        if value != getattr(defaults, name):
            written[name] = list(value) if isinstance(value, tuple) else value
    written |= _SDE if config.sampler == "dpm++2m-sde" else {}
    if read_schedule(written, "scheduler_config.json") != config:
        raise InputError(f"no scheduler_config.json says {config}")
    return written
