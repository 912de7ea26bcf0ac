"""Sampling compiled for a chip that is not there: all programs of a request, or one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from audioldm2_jax import backend
from audioldm2_jax.checkpoints import registry
from audioldm2_jax.checkpoints.families import default_guidance
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.batch import latents_shape
from audioldm2_jax.pipelines.durations import exact_duration
from audioldm2_jax.pipelines.loading import open_checkpoint
from audioldm2_jax.pipelines.memory import model_shapes, prepack_params
from audioldm2_jax.pipelines.programs import program_of, shared
from audioldm2_jax.pipelines.request import check_sampling
from audioldm2_jax.pipelines.text import blank
from audioldm2_jax.pipelines.values import check_count
from audioldm2_jax.presets import CONVENTIONS, PRESETS, ModelConfig
from audioldm2_jax.rehearsal.chips import chip_of, compile_there, devices_of
from audioldm2_jax.rehearsal.report import (
    kernel_figures,
    memory_figures,
    program_text,
    too_large,
)

# "unet" is one step of the sampler, guided if the model is.
PARTS = ("generate", "condition", "unet", "render")


def named_config(name: str) -> ModelConfig:
    """The configuration of a preset, a published model or a checkpoint on this machine.

    The hub's owner may be left out: audioldm2 is cvssp/audioldm2. Raises InputError.
    """
    if name in PRESETS:
        return PRESETS[name]()
    published = registry.PUBLISHED | {
        hub_id.rpartition("/")[2]: preset for hub_id, preset in registry.PUBLISHED.items()
    }
    preset = published.get(registry.OFFICIAL_NAMES.get(name, name))
    return PRESETS[preset]() if preset else open_checkpoint(name, progress=False).config


def rehearse_sampling(
    name: str,
    topology: str,
    *,
    part: str = "generate",
    seconds: float | None = None,
    steps: int = 25,
    clips: int = 1,
    sampler: str | None = None,
    dump: str | None = None,
) -> dict:
    """What sampling `clips` clips of a model at once needs on one chip of a topology such as h100.

    part: one of `PARTS`; seconds, sampler: None are the model's own. dump: a file that the compiled
    program's text is written to. -> model, part, clips, seconds and steps, and what
    `memory_figures` and `kernel_figures` return; of a program that the compiler finds too large
    what `too_large` returns. Nothing is computed and no weight is made. Raises InputError for what
    the model cannot do, a topology of several chips, or without the compiler's package.
    """
    chip = chip_of(topology)
    check_count("batchsize (-b)", clips, 1)
    config = named_config(name)
    duration = exact_duration(seconds, config, CONVENTIONS["authors"])
    schedule = check_sampling(config, sampler, steps, 0.0).schedule
    devices = devices_of(topology)
    if len(devices) > 1:
        raise InputError(
            f"--topology {topology}: each chip samples its own clips; rehearse one of them"
        )
    what = {"model": name, "part": part, "chips": 1, "batch": clips}
    what |= {"seconds of sound": duration.seconds, "steps": len(schedule.timesteps)}
    with backend.targeting(chip.platform):
        run, arguments = _part(part, config, duration.frames, schedule, clips)
        try:
            compiled = compile_there(jax.jit(run).lower(*_on(devices[0], arguments)))
        except jax.errors.JaxRuntimeError as error:
            return what | too_large(str(error))
    text = program_text(compiled, dump)
    return what | memory_figures(compiled, chip) | kernel_figures(text, chip)


def _part(part: str, config: ModelConfig, frames: int, schedule, count: int) -> tuple:
    """(the function of a part, its arguments as shapes)."""
    dtype = backend.current().dtype
    program, guided = program_of(config, dtype), default_guidance(config) > 1
    params = jax.eval_shape(lambda p: prepack_params(p, dtype), model_shapes(config, dtype))
    texts, timesteps = blank(config, count, guided=guided), schedule.timesteps
    latents = jax.ShapeDtypeStruct(latents_shape(config, frames, count), jnp.float32)
    guidance = np.ones(count, np.float32)
    if part == "generate":
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
        clips = shared.Clips(texts, guidance if guided else None, keys, latents)
        return partial(_generate, program), (params, clips, schedule)
    condition: Callable[..., Any] = partial(shared.condition, program)
    if part == "condition":
        return condition, (params, texts)
    if part == "render":
        return partial(shared.render, program), (params, latents)
    context, _ = jax.eval_shape(condition, params, texts)

    biases = jax.eval_shape(partial(shared.time_bias, program), params, timesteps)

    def step(params, context, biases, x, index, guidance):
        return shared.denoiser(program, params, context, biases, guidance)(x, index)

    index = np.zeros((), np.int32)
    return step, (params, context, biases, latents, index, guidance if guided else None)


def _generate(program, params, clips, schedule):
    """The three programs as one, whose loop tells the reader how often it runs."""
    context, features = shared.condition(program, params, clips.texts)
    loop = dataclasses.replace(clips, texts=None)
    latents = shared.sample_latents(program, params, context, loop, schedule, None)
    return shared.render(program, params, latents), features


def _on(device, arguments):
    """The arguments as shapes on a device."""
    place = SingleDeviceSharding(device)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=place), arguments
    )
