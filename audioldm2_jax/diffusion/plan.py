"""What a sampler is: a plan, for each evaluation of the network a matrix over its state.

Every sampler here is linear in its state and in what the network predicts. Builders write each
method's formulas over coefficient vectors, on the host in float64.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sampler does, for E evaluations of the network and a state of M arrays.

    timesteps: [E] at which the network is asked; scales: [E] by which its input is multiplied;
    matrices: [E, M, M + 2] from (state, prediction, noise) to the next state, whose first entry is
    the sample; initial: scale of the initial unit noise; stochastic: whether noise is drawn.
    """

    timesteps: np.ndarray
    scales: np.ndarray
    matrices: np.ndarray
    initial: float
    stochastic: bool


def basis(memory: int):
    """Coefficient vectors of the sample, the `memory` further states, the prediction, the noise."""
    unit = np.eye(memory + 3)
    return unit[0], list(unit[1:-2]), unit[-2], unit[-1]


def assemble(timesteps, rows, *, scales=None, initial=1.0) -> Plan:
    """rows: for each evaluation the next state's coefficient vectors."""
    matrices = np.asarray([np.stack(row) for row in rows], np.float32)
    scales = np.ones(len(timesteps)) if scales is None else scales
    return Plan(
        np.asarray(timesteps, np.float32),
        np.asarray(scales, np.float32),
        matrices,
        np.float32(initial),
        bool(matrices[..., -1].any()),
    )


def denoised(config: ScheduleConfig, alpha, sigma, x, output):
    """(x0, epsilon) that the network's output means. x = alpha x0 + sigma epsilon."""
    if config.prediction_type == "v_prediction":
        return alpha * x - sigma * output, alpha * output + sigma * x
    if config.prediction_type == "sample":
        return output, (x - alpha * output) / sigma
    if alpha == 0:
        raise InputError(
            "rescale_betas_zero_snr is True: the last timestep is noise alone, from which "
            "prediction_type 'epsilon' tells no sample; take timestep_spacing 'leading'"
        )
    return (x - sigma * output) / alpha, output


def supports(
    *,
    predictions: tuple[str, ...] = PREDICTIONS,
    zero_snr: bool = True,
    unsupported: tuple[str, ...] = (),
    check: Callable[[ScheduleConfig], None] | None = None,
) -> Callable:
    """Decorates a builder (config, steps, ...) -> Plan with the entries that it can follow.

    unsupported: fields of SolverConfig that must be False. The builder's `check(config)` raises
    InputError for others, which each call does first.
    """

    def check_all(config):
        if config.prediction_type not in predictions:
            _refuse("prediction_type", config.prediction_type, *predictions)
        if config.rescale_betas_zero_snr and not zero_snr:
            _refuse("rescale_betas_zero_snr", True, False)
        for name in unsupported:
            if getattr(config.solver, name):
                _refuse(name, getattr(config.solver, name), False)
        if check:
            check(config)

    def decorate(build):
        @functools.wraps(build)
        def checked(config, steps, **options):
            check_all(config)
            return build(config, steps, **options)

        checked.check = check_all
        return checked

    return decorate


def require(config: ScheduleConfig, name: str, *values, where: str = "") -> None:
    """Raises InputError unless the solver's entry has one of the values."""
    if getattr(config.solver, name) not in values:
        _refuse(name, getattr(config.solver, name), *values, where=where)


def _refuse(name, value, *values, where=""):
    choices = " or ".join(map(repr, values))
    raise InputError(f"{name} is {value!r}{where}; supported by this sampler: {choices}")
