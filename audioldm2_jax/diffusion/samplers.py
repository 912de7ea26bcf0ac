"""Sampling in one loop: the device runs `sample` over a schedule, whatever the solver.

The schedules agree with diffusers' schedulers created from the same file (`docs/samplers.md`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.diffusion.registry import SAMPLERS, make_schedule, sampler_names  # noqa: F401
from audioldm2_jax.diffusion.solvers.base import SamplerSchedule
from audioldm2_jax.diffusion.timesteps import Timesteps  # noqa: F401

# What `pad_schedule` pads to: Heun on 200 steps has 399 evaluations, PNDM a state of 6 arrays.
_EVALUATIONS, _STATES = 512, 6

jax.tree_util.register_dataclass(
    SamplerSchedule,
    ["timesteps", "input_scales", "matrices", "x0_weights", "alphas", "sigmas", "init_noise_sigma"],
    ["stochastic"],
)


def sample(
    denoise: Callable,
    x,
    schedule: SamplerSchedule,
    noise: Callable | None = None,
    on_step: Callable | None = None,
    *,
    count=None,
) -> jax.Array:
    """Runs a schedule. x: [B, T, F, C] unit noise, or `noise_to_start`'s -> latents, both fp32.

    denoise(x, index) predicts at evaluation `index`. noise(index) draws unit noise like x; needed
    if the schedule is stochastic. on_step(x, x0, index) follows each evaluation, inside the loop:
    x [B, T, F, C] is the sample at the level of evaluation index + 1, x0 the current prediction of
    the result. It returns the sample to go on with; what a multistep solver remembers stays. (Heun
    and PNDM evaluate also within a step.) count: how many evaluations run, an integer or a traced
    scalar; None is all of them.
    """
    noise = noise if schedule.stochastic else None
    rows = jax.tree.map(jnp.asarray, evaluations(schedule))

    def body(index, state):
        return step(denoise, state, tuple(row[index] for row in rows), noise, on_step)

    count = schedule.timesteps.shape[0] if count is None else count
    return jax.lax.fori_loop(0, count, body, initial_state(x, schedule))[0]


def pad_schedule(schedule: SamplerSchedule) -> tuple[SamplerSchedule, np.ndarray]:
    """The schedule in a shape that samplers and numbers of steps share, and `sample`'s count.

    Rows of evaluations and states that no solver reads are zeros. It counts as stochastic: a
    deterministic solver weights the noise by zero.
    """
    evaluations, states = schedule.matrices.shape[:2]
    more = max(_EVALUATIONS, 1 << (evaluations - 1).bit_length()) - evaluations
    unread = max(_STATES - states, 0)
    # The columns: the state's, which grows, then the prediction and the noise.
    matrices = np.insert(schedule.matrices, [states] * unread, 0, axis=2)
    rows = {"matrices": np.pad(matrices, ((0, more), (0, unread), (0, 0)))}
    for name in ("timesteps", "input_scales", "x0_weights", "alphas", "sigmas"):
        values = getattr(schedule, name)
        rows[name] = np.pad(values, ((0, more), *((0, 0),) * (values.ndim - 1)))
    return dataclasses.replace(schedule, **rows, stochastic=True), np.int32(evaluations)


def evaluations(schedule: SamplerSchedule) -> tuple:
    """What `step` reads of each evaluation: (indices, input scales, matrices, x0 weights)."""
    indices = np.arange(schedule.timesteps.shape[0], dtype=np.int32)
    return indices, schedule.input_scales, schedule.matrices, schedule.x0_weights


def step(denoise: Callable, state, evaluation: tuple, noise=None, on_step=None) -> jax.Array:
    """The state after an evaluation, a row of `evaluations`; the functions are as in `sample`.

    noise: None unless the schedule is stochastic.
    """
    index, input_scale, matrix, x0_weight = evaluation
    x_in = state[0] * input_scale
    prediction = denoise(x_in, index)
    state = update(state, prediction, matrix, None if noise is None else noise(index))
    if on_step is None:
        return state
    return state.at[0].set(on_step(state[0], predicted_x0(x_in, prediction, x0_weight), index))


def initial_state(x, schedule: SamplerSchedule) -> jax.Array:
    """The state before the first evaluation: the scaled sample and zeros. [M, B, T, F, C]"""
    x = x.astype(jnp.float32) * schedule.init_noise_sigma
    return jnp.stack([x] + [jnp.zeros_like(x)] * (schedule.matrices.shape[1] - 1))


@jax.jit
def update(state, prediction, matrix, noise=None) -> jax.Array:
    """The state after an evaluation. matrix: [M, M + 2]; noise: like the sample, or None."""
    parts = [state, prediction.astype(jnp.float32)[None]]
    if noise is None:
        matrix = matrix[:, :-1]
    else:
        parts.append(noise[None])
    # An exact product: the coefficients span orders of magnitude.
    return jnp.einsum(
        "mk,kbtfc->mbtfc", matrix, jnp.concatenate(parts), precision=jax.lax.Precision.HIGHEST
    )


def predicted_x0(x_in, prediction, x0_weight) -> jax.Array:
    """The result that an evaluation predicts: [B, T, F, C] fp32. x0_weight: [2], the schedule's.

    x_in, prediction: [B, T, F, C], the network's input and output.
    """
    return x0_weight[0] * x_in + x0_weight[1] * prediction.astype(jnp.float32)


def noise_to_step(schedule: SamplerSchedule, x0, noise, index) -> jax.Array:
    """A known clip as the sample before evaluation `index`; at index E the clip itself.

    x0, noise: [B, T, F, C]. In `on_step` at index i, `noise_to_step(..., i + 1)` is what a known
    region has to be.
    """
    alphas, sigmas = jnp.asarray(schedule.alphas), jnp.asarray(schedule.sigmas)
    return alphas[index] * x0 + sigmas[index] * noise


def noise_to_start(schedule: SamplerSchedule, x0, noise) -> jax.Array:
    """What `sample` takes to start from a known clip (SDEdit, arXiv 2108.01073): [B, T, F, C].

    `Timesteps.strength` says how much of the clip is left.
    """
    return noise_to_step(schedule, x0, noise, 0) / schedule.init_noise_sigma
