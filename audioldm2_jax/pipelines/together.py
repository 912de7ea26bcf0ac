"""The clips of a batch together, in three programs: where a clip is quicker than a compilation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from audioldm2_jax import tree
from audioldm2_jax.diffusion.samplers import pad_schedule
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.programs import shared
from audioldm2_jax.pipelines.programs.shared import Program
from audioldm2_jax.pipelines.runner import Runner, needed_memory, result_shapes


class Together(NamedTuple):
    """Compiled programs of all clips. needed: bytes on a device that running them takes beside the
    weights.
    """

    condition: Callable
    sample: Callable
    render: Callable
    needed: int


def compile_together(
    runner: Runner, program: Program, params: dict, batch: Batch, *, progress: bool
) -> Together:
    """The programs of a batch whose clips the runner's mesh divides.

    Raises InputError if one needs more memory than is free.
    """
    compiled = functools.partial(runner.compiled, progress=progress)
    texts = batch.clips.texts
    condition = compiled(shared.condition, program, params, texts, label="text encoders")
    context, _ = result_shapes(condition)
    arguments = params, context, *_loop(batch)
    sample = compiled(shared.sample_latents, program, *arguments, label="sampler")
    latents = jax.ShapeDtypeStruct(batch.clips.latents.shape, jnp.float32)
    render = compiled(shared.render, program, params, latents, label="decoders")
    sampling = tree.nbytes(context) // runner.mesh.size + needed_memory(sample)
    needed = max(sampling, needed_memory(condition), needed_memory(render))
    return Together(condition, sample, render, needed)


def run_together(programs: Together, params: dict, batch: Batch):
    """(waveforms [B, samples] fp32, the prompts' CLAP features [B, D] or None), on the devices."""
    context, features = programs.condition(params, batch.clips.texts)
    latents = programs.sample(params, context, *_loop(batch))
    return programs.render(params, latents), features


def _loop(batch: Batch) -> tuple:
    """What the sampler reads besides the parameters and the context."""
    return dataclasses.replace(batch.clips, texts=None), *pad_schedule(batch.schedule)
