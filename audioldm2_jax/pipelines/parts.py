"""A request in parts, behind a bar: for the CPU, where compiling takes longer than a clip.

Texts are encoded prompt by prompt and clips sampled one by one: so all requests of one duration run
the same few programs, whatever their number of prompts, and a CPU computes hardly slower.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.diffusion import samplers
from audioldm2_jax.pipelines import program
from audioldm2_jax.pipelines.run import Runner, needed_memory, tree_bytes
from audioldm2_jax.pipelines.text import Texts


def in_parts() -> bool:
    """Whether requests run in parts here, and not as one program."""
    return not backend.current().one_program


@dataclasses.dataclass(frozen=True)
class Parts:
    """Compiled programs of one prompt's clip.

    condition, predict: by whether the unconditional LOA is zeros; needed: bytes that running them
    takes beside the weights.
    """

    condition: dict[bool, Any]
    predict: dict[bool, Any]
    render: Any
    needed: int


def compile_parts(
    runner: Runner, job: program.Job, texts: Texts, plan, shape: tuple[int, ...], *, progress: bool
) -> Parts:
    """The programs of a request. shape: of its latents, [B, T, F, C].

    Raises InputError if one of them needs more memory than is free.
    """
    alone = dataclasses.replace(
        job, unconditional=min(job.unconditional, 1), zero_loa=True, candidates=1, samples=None
    )
    prompts = [texts.of_prompt(i) for i in range(shape[0] // job.candidates)]
    sample = jax.ShapeDtypeStruct((1, *shape[1:]), jnp.float32)
    condition, predict, sampling = {}, {}, 0
    for zero, prompt in {_zero_loa(prompt): prompt for prompt in prompts}.items():
        each = dataclasses.replace(alone, zero_loa=zero)
        arguments = runner.params, prompt, _padded(plan)
        condition[zero] = runner.compiled(
            program.condition, each, *arguments, label="text encoders", progress=progress
        )
        # A given LOA changes the context's shape: one program only where the shapes are equal.
        context, _ = runner.shapes(program.condition, each, *arguments)
        arguments = runner.params, context, sample, 0, np.float32(0)
        predict[zero] = runner.compiled(
            _predict, alone, *arguments, label="U-Net", progress=progress
        )
        sampling = max(sampling, tree_bytes(context) + needed_memory(predict[zero]))
    each = dataclasses.replace(alone, unconditional=0, samples=job.samples)
    render = runner.compiled(
        program.render, each, runner.params, sample, label="decoders", progress=progress
    )
    needed = max(sampling, *map(needed_memory, (*condition.values(), render)))
    return Parts(condition, predict, render, needed)


def run_parts(
    runner: Runner, parts: Parts, job, texts: Texts, plan, guidance, keys, latents, *, progress
):
    """(waveforms [B, samples] fp32, the prompts' CLAP features [P, D] or None), behind a bar."""
    from tqdm import tqdm

    waves, features, clips = [], [], latents.shape[0]
    settings = {"desc": "sampling", "unit": "step", "file": sys.stderr, "disable": not progress}
    with tqdm(total=clips * len(plan.timesteps), **settings) as bar:
        for clip in range(clips):
            if clip % job.candidates == 0:
                prompt = texts.of_prompt(clip // job.candidates)
                zero = _zero_loa(prompt)
                context, vector = parts.condition[zero](runner.params, prompt, _padded(plan))
                features.append(vector)
            predict = functools.partial(parts.predict[zero], runner.params, context)
            its = slice(clip, clip + 1)
            sample = _sample(predict, latents[its], plan, guidance, keys[its], bar)
            waves.append(np.asarray(parts.render(runner.params, sample), np.float32))
    known = features[0] is not None
    return np.concatenate(waves), np.concatenate(features) if known else None


def _sample(predict, latents, plan, guidance, keys, bar):
    """Latents of a clip, one evaluation of the network after another."""
    state = samplers.initial_state(latents, plan)
    for i in range(len(plan.timesteps)):
        x = state[0] * plan.input_scales[i]
        noise = _noise(keys, i + 1, x.shape) if plan.stochastic else None
        prediction = predict(x, i, guidance)
        state = jax.block_until_ready(_update(state, prediction, plan.matrices[i], noise))
        bar.update()
    return state[0]


def _zero_loa(prompt: Texts) -> bool:
    return bool(prompt.zero_loa.all())


def _padded(plan):
    """Timesteps in few distinct lengths, so that another number finds everything compiled."""
    evaluations = len(plan.timesteps)
    padded = np.zeros(max(64, 1 << (evaluations - 1).bit_length()), np.float32)
    padded[:evaluations] = plan.timesteps
    return padded


def _predict(job, params, context, x, index, guidance):
    return program.denoiser(job, params, context, guidance)(x, index)


_update = jax.jit(samplers.update)
_noise = jax.jit(program.clip_noise, static_argnums=2)
