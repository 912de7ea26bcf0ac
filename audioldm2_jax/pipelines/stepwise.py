"""A batch clip by clip and step by step, behind a bar: where compiling takes longer than a clip.

All requests of one duration run the same few programs, whatever their number of clips, steps and
samplers, and a CPU computes hardly slower.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import prepared
from audioldm2_jax.diffusion import samplers
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.parts import stage_parts
from audioldm2_jax.pipelines.programs import shared
from audioldm2_jax.pipelines.programs.shared import Program
from audioldm2_jax.pipelines.runner import Runner, needed_memory, result_shapes


class Steps(NamedTuple):
    """Compiled programs of one clip. needed: bytes that running them takes beside the weights."""

    condition: Callable
    predict: Callable
    render: Callable
    needed: int


def compile_steps(
    runner: Runner, program: Program, params: dict, batch: Batch, *, progress: bool
) -> Steps:
    """The programs of a batch. Raises InputError if one needs more memory than is free."""
    compiled = functools.partial(runner.compiled, progress=progress)
    texts, shape = batch.clips.texts.take([0]), (1, *batch.clips.latents.shape[1:])
    condition = compiled(shared.condition, program, params, texts, label="text encoders")
    context, _ = result_shapes(condition)
    latents = jax.ShapeDtypeStruct(shape, jnp.float32)
    guidance = np.zeros(1, np.float32) if texts.guided else None
    arguments = params, context, latents, np.float32(0), guidance
    predict = compiled(predict_once, program, *arguments, label="U-Net")
    render = compiled(shared.render, program, params, latents, label="decoders")
    sampling = tree.nbytes(context) + needed_memory(predict)
    needed = max(sampling, needed_memory(condition), needed_memory(render))
    return Steps(condition, predict, render, needed)


def run_steps(
    steps: Steps, params: dict, batch: Batch, *, progress: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """(waveforms [B, samples] fp32, the prompts' CLAP features [B, D] or None), behind a bar."""
    from tqdm import tqdm

    waves: list[Any] = []
    features: list[Any] = []
    clips, schedule = batch.clips, batch.schedule
    total = len(batch.owners) * len(schedule.timesteps)
    settings = {"desc": "sampling", "unit": "step", "file": sys.stderr, "disable": not progress}
    owner = None
    with tqdm(total=total, **settings) as bar:
        for i in range(len(batch.owners)):
            if batch.owners[i] != owner:
                owner, texts = batch.owners[i], clips.texts.take([i])
                context, vector = jax.block_until_ready(steps.condition(params, texts))
                # They are the larger half of a model, and the U-Net needs memory next.
                prepared.release(stage_parts(params, "text encoders"))
            predict = functools.partial(steps.predict, params, context)
            latents = sample_clip(predict, batch, i, bar.update)
            waves.append(np.asarray(steps.render(params, latents), np.float32))
            features.append(vector)
    has_features = features[0] is not None
    return np.concatenate(waves), np.concatenate(features) if has_features else None


def predict_once(program, params, context, x, timestep, guidance) -> jax.Array:
    """One evaluation of the U-Net on one clip. guidance: [1], None without guidance."""
    biases = shared.time_bias(program, params, timestep[None])
    return shared.denoiser(program, params, context, biases, guidance)(x, 0)


def sample_clip(predict, batch: Batch, index: int, report) -> jax.Array:
    """Latents [1, T, F, C] of a batch's clip, by a compiled predict(x, timestep, guidance)."""
    clips, schedule, own = batch.clips, batch.schedule, slice(index, index + 1)
    guidance = clips.guidance[own] if clips.texts.guided else None
    x = clips.latents[own]

    def denoise(x, index):
        return predict(x, schedule.timesteps[index], guidance)

    noise = functools.partial(_noise, clips.keys[own], shape=x.shape)
    return sample(denoise, x, schedule, noise, report=report)


def sample(denoise, x, schedule, noise=None, on_step=None, report=lambda: None) -> jax.Array:
    """`samplers.sample` in a loop on the host, which may raise from `on_step`.

    report() follows each evaluation.
    """
    state = samplers.initial_state(x, schedule)
    noise = noise if schedule.stochastic else None
    for evaluation in zip(*samplers.evaluations(schedule)):
        state = jax.block_until_ready(samplers.step(denoise, state, evaluation, noise, on_step))
        report()
    return state[0]


@functools.partial(jax.jit, static_argnames="shape")
def _noise(keys, index, shape):
    return shared.clip_noise(keys, index + 1, shape)
