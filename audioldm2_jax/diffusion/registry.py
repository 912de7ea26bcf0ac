"""The samplers by name. This table feeds the command's help, the errors and the docs' check."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from audioldm2_jax.diffusion.solvers import ddim, dpm_solver, pndm, sigma_space, unipc
from audioldm2_jax.diffusion.solvers.base import SamplerSchedule
from audioldm2_jax.diffusion.timesteps import Timesteps
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

# Solvers (config, timesteps) -> SamplerSchedule, each described by its docstring's first sentence.
SAMPLERS: dict[str, Callable[..., SamplerSchedule]] = {
    "ddim": ddim.ddim,
    "ddpm": ddim.ddpm,
    "pndm": pndm.pndm,
    "euler": sigma_space.euler,
    "euler-a": sigma_space.euler_ancestral,
    "heun": sigma_space.heun,
    "lms": sigma_space.lms,
    "dpm++2m": dpm_solver.dpmpp_2m,
    "dpm++2m-sde": dpm_solver.dpmpp_2m_sde,
    "dpmsolver": dpm_solver.dpmsolver,
    "unipc": unipc.unipc,
}


def sampler_names() -> str:
    """All names, separated by spaces, as help and errors list them."""
    return " ".join(SAMPLERS)


def describe(name: str) -> str:
    """The first line of the sampler's docstring, for the docs."""
    return (SAMPLERS[name].__doc__ or "").partition("\n")[0].strip()


def sampler_named(name: str) -> Callable[..., SamplerSchedule]:
    """Raises InputError for an unknown name."""
    if not isinstance(name, str) or name not in SAMPLERS:
        raise InputError(f"unknown sampler {name!r}: choose one of {sampler_names()}")
    return SAMPLERS[name]


def check_sampler(name: str, config: ScheduleConfig) -> None:
    """Raises InputError naming the first entry that the sampler cannot obey."""
    check = getattr(sampler_named(name), "check", None)
    if check:
        check(config)


def make_schedule(
    sampler: str, config: ScheduleConfig, timesteps: Timesteps, *, eta: float = 0.0
) -> SamplerSchedule:
    """The schedule of a sampler by name. Raises InputError for what the sampler cannot do."""
    solver = sampler_named(sampler)
    timesteps.check(config.train_steps)
    if not 0.0 <= eta <= 1.0:
        raise InputError(f"eta is {eta}: it must lie between 0 and 1")
    if eta and sampler != "ddim":
        raise InputError(f"eta is {eta}, but only the sampler ddim uses it (asked: {sampler})")
    if timesteps.spacing is not None:
        config = dataclasses.replace(config, timestep_spacing=timesteps.spacing)
    try:
        with np.errstate(all="ignore"):  # lambda_t is infinite at sigma 0; checked below
            schedule = solver(config, timesteps, **({"eta": eta} if eta else {}))
    except InputError as error:
        raise InputError(f"sampler {sampler}: {error}") from None
    finite = (schedule.matrices, schedule.input_scales, schedule.init_noise_sigma)
    if not all(np.isfinite(x).all() for x in finite):
        raise InputError(
            f"steps is {timesteps.total}: sampler {sampler} has no finite solution on this grid "
            f"(of timestep spacing {config.timestep_spacing!r}), which may repeat a timestep; take "
            "fewer steps"
        )
    return schedule
