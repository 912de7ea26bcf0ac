"""The samplers by name. This table feeds the command's help, the errors and the docs' check."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audioldm2_jax.diffusion import discrete, multistep, sigma_space
from audioldm2_jax.diffusion.plan import Plan
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

# Builders (config, steps) -> Plan; the first sentence of each docstring is its description.
SAMPLERS: dict[str, Callable[..., Plan]] = {
    "ddim": discrete.ddim,
    "ddpm": discrete.ddpm,
    "pndm": discrete.pndm,
    "euler": sigma_space.euler,
    "euler-a": sigma_space.euler_ancestral,
    "heun": sigma_space.heun,
    "lms": sigma_space.lms,
    "dpm++2m": multistep.dpmpp_2m,
    "dpm++2m-sde": multistep.dpmpp_2m_sde,
    "dpmsolver": multistep.dpmsolver,
    "unipc": multistep.unipc,
}


def sampler_names() -> str:
    """All names, separated by spaces, as help and errors list them."""
    return " ".join(SAMPLERS)


def describe(name: str) -> str:
    """The first line of the sampler's docstring, for the docs."""
    return (SAMPLERS[name].__doc__ or "").partition("\n")[0].strip()


def sampler_named(name: str) -> Callable[..., Plan]:
    """Raises InputError for an unknown name."""
    if not isinstance(name, str) or name not in SAMPLERS:
        raise InputError(f"unknown sampler {name!r}: choose one of {sampler_names()}")
    return SAMPLERS[name]


def check_sampler(name: str, config: ScheduleConfig) -> None:
    """Raises InputError naming the first entry that the sampler cannot obey."""
    check = getattr(sampler_named(name), "check", None)
    if check:
        check(config)


def make_plan(name: str, config: ScheduleConfig, steps: int, *, eta: float = 0.0) -> Plan:
    """The plan of a sampler by name. Raises InputError for what it cannot do."""
    build = sampler_named(name)
    whole = isinstance(steps, (int, np.integer)) and not isinstance(steps, bool)
    if not whole or not 1 <= steps <= config.train_steps:
        raise InputError(f"steps is {steps}: it must be an integer from 1 to {config.train_steps}")
    if not 0.0 <= eta <= 1.0:
        raise InputError(f"eta is {eta}: it must lie between 0 and 1")
    if eta and name != "ddim":
        raise InputError(f"eta is {eta}, but only the sampler ddim uses it (asked: {name})")
    try:
        with np.errstate(all="ignore"):  # lambda is infinite at sigma 0; the rest is checked below
            plan = build(config, int(steps), **({"eta": eta} if eta else {}))
    except InputError as error:
        raise InputError(f"sampler {name}: {error}") from None
    if not all(np.isfinite(x).all() for x in (plan.matrices, plan.scales, plan.initial)):
        raise InputError(
            f"steps is {steps}: sampler {name} has no finite solution on this grid (of timestep "
            f"spacing {config.timestep_spacing!r}), which may repeat a timestep; take fewer steps"
        )
    return plan
