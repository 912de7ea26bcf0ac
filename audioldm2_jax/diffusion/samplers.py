"""Samplers, all in one scan: the device runs `sample` over a plan, whatever the method.

The plans agree with diffusers' schedulers created from the same file (`docs/samplers.md`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from audioldm2_jax.diffusion.plan import Plan
from audioldm2_jax.diffusion.registry import SAMPLERS, make_plan, sampler_names  # noqa: F401

jax.tree_util.register_dataclass(
    Plan, ["timesteps", "scales", "matrices", "initial"], ["stochastic"]
)


def sample(denoise: Callable, x, plan: Plan, noise: Callable | None = None) -> jax.Array:
    """Runs a plan. x: [B, T, F, C] unit noise -> latents, both fp32.

    denoise(x, index) predicts at evaluation `index`; noise(index) draws unit noise like x, needed
    if the plan is stochastic.
    """

    def step(state, evaluation):
        index, scale, matrix = evaluation
        prediction = denoise(state[0] * scale, index)
        return update(state, prediction, matrix, noise(index) if plan.stochastic else None), None

    indices = jnp.arange(plan.timesteps.shape[0])
    rows = (indices, jnp.asarray(plan.scales), jnp.asarray(plan.matrices))
    return jax.lax.scan(step, start(x, plan), rows)[0][0]


def start(x, plan: Plan) -> jax.Array:
    """The state before the first evaluation: the scaled sample and zeros. [M, B, T, F, C]"""
    x = x.astype(jnp.float32)
    return jnp.stack([x * plan.initial] + [jnp.zeros_like(x)] * (plan.matrices.shape[1] - 1))


def update(state, prediction, matrix, noise=None) -> jax.Array:
    """The state after an evaluation. matrix: [M, M + 2], noise: like the sample, or None."""
    parts = [state, prediction.astype(jnp.float32)[None]]
    if noise is None:
        matrix = matrix[:, :-1]
    else:
        parts.append(noise[None])
    # An exact product: the coefficients span orders of magnitude.
    return jnp.einsum(
        "mk,kbtfc->mbtfc", matrix, jnp.concatenate(parts), precision=jax.lax.Precision.HIGHEST
    )
