"""What a solver is made of: for each evaluation of the network a matrix over the sampler's state.

Every solver here is linear in its state and in what the network predicts. They write their
formulas over coefficient vectors, on the host in float64.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from audioldm2_jax.diffusion import schedules
from audioldm2_jax.diffusion.timesteps import Timesteps
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclasses.dataclass(frozen=True)
class SamplerSchedule:
    """A sampler on its timesteps: E evaluations of the network, a state of M arrays.

    The sample before evaluation i is alphas[i] x0 + sigmas[i] noise.

    timesteps: [E] of the evaluations; input_scales: [E], factors of the network's input; matrices:
    [E, M, M + 2] from (state, prediction, noise) to the next state, whose first entry is the
    sample; x0_weights: [E, 2] from (network's input, prediction) to the predicted x0; alphas,
    sigmas: [E + 1], the last pair (1, 0) of the result; init_noise_sigma: scale of the initial
    unit noise, 1 for a start in the middle; stochastic: whether noise is drawn.
    """

    timesteps: np.ndarray
    input_scales: np.ndarray
    matrices: np.ndarray
    x0_weights: np.ndarray
    alphas: np.ndarray
    sigmas: np.ndarray
    init_noise_sigma: float
    stochastic: bool


def basis(memory: int):
    """Coefficient vectors of the sample, the `memory` further states, the prediction, the noise."""
    unit = np.eye(memory + 3)
    return unit[0], list(unit[1:-2]), unit[-2], unit[-1]


def assemble(
    config: ScheduleConfig, timesteps, rows, alphas, sigmas, *, input_scales=None, init_noise_sigma
) -> SamplerSchedule:
    """The schedule of E evaluations.

    timesteps, alphas, sigmas: [E], of the sample before each; rows: for each the coefficient
    vectors of the next state.
    """
    scales = np.ones(len(timesteps)) if input_scales is None else np.asarray(input_scales)
    x_in, output = np.eye(2)
    x0_weights = [
        denoised(config, scale * alpha, scale * sigma, x_in, output)[0]
        for scale, alpha, sigma in zip(scales, alphas, sigmas)
    ]
    matrices = np.asarray([np.stack(row) for row in rows], np.float32)
    return SamplerSchedule(
        timesteps=np.asarray(timesteps, np.float32),
        input_scales=scales.astype(np.float32),
        matrices=matrices,
        x0_weights=np.asarray(x0_weights, np.float32),
        alphas=np.append(alphas, 1.0).astype(np.float32),
        sigmas=np.append(sigmas, 0.0).astype(np.float32),
        init_noise_sigma=np.float32(init_noise_sigma),
        stochastic=bool(matrices[..., -1].any()),
    )


def denoised(config: ScheduleConfig, alpha, sigma, x, output):
    """(x0, eps) that the network's output means, for x = alpha x0 + sigma eps."""
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


class AlphasCumprod:
    """alphas_cumprod by timestep; below timestep 0 the final value of DDIM and PNDM."""

    def __init__(self, config: ScheduleConfig):
        self.table = schedules.alphas_cumprod(config)
        self.final = 1.0 if config.solver.set_alpha_to_one else self.table[0]

    def __call__(self, t: int) -> float:
        if t >= len(self.table):
            raise InputError(f"timestep {t} lies outside the {len(self.table)} of training")
        return self.table[t] if t >= 0 else self.final

    def levels(self, timesteps) -> tuple[np.ndarray, np.ndarray]:
        """sqrt(alphas_cumprod) and sqrt(1 - alphas_cumprod) of each timestep: [E], [E]."""
        shares = np.asarray([self(t) for t in timesteps])
        return np.sqrt(shares), np.sqrt(1 - shares)


def supports(
    *,
    predictions: tuple[str, ...] = PREDICTIONS,
    zero_snr: bool = True,
    unsupported: tuple[str, ...] = (),
    check: Callable[[ScheduleConfig], None] | None = None,
) -> Callable:
    """Decorates a solver (config, timesteps, ...) -> SamplerSchedule with what it can follow.

    unsupported: fields of SolverConfig that must be False. The solver's `check(config)`, which each
    call does first, raises InputError for the others.
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

    def decorate(solver):
        @functools.wraps(solver)
        def checked(config: ScheduleConfig, timesteps: Timesteps, **options) -> SamplerSchedule:
            check_all(config)
            return solver(config, timesteps, **options)

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
