"""Sampling compiled for a chip that is not there: all programs of a request, or one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from audioldm2_jax import backend, tree
from audioldm2_jax.checkpoints import registry
from audioldm2_jax.checkpoints.families import default_guidance
from audioldm2_jax.diffusion.samplers import pad_schedule
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.int8 import check_quantize
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.durations import exact_duration
from audioldm2_jax.pipelines.loading import open_checkpoint
from audioldm2_jax.pipelines.memory import model_shapes, prepack_params, typical_batch
from audioldm2_jax.pipelines.programs import program_of, shared
from audioldm2_jax.pipelines.request import check_sampling
from audioldm2_jax.pipelines.values import check_count
from audioldm2_jax.presets import CONVENTIONS, PRESETS, ModelConfig
from audioldm2_jax.rehearsal import hlo
from audioldm2_jax.rehearsal.chips import (
    Chip,
    chip_of,
    compile_there,
    compiled_text,
    devices_of,
    on_device,
)
from audioldm2_jax.rehearsal.in_turn import rehearse_in_turn
from audioldm2_jax.rehearsal.kernels import read_kernels, together
from audioldm2_jax.rehearsal.report import kernel_figures, memory_figures, too_large

# The programs that sampling runs, one after another.
PROGRAMS = ("condition", "sample", "render")
# "generate" is all of them; "unet" is one step of the sampler, guided if the model is.
PARTS = ("generate", *PROGRAMS, "unet")


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
    low_memory: bool = False,
    quantize: str | None = None,
    dump: str | None = None,
) -> dict:
    """What sampling `clips` clips of a model at once needs on one chip of a topology such as h100.

    part: one of `PARTS`; seconds, sampler: None are the model's own. low_memory, quantize: as of
    `Pipeline.from_pretrained`. dump: a file that the compiled text is written to, of "generate" the
    sampler's. -> model, part, clips, seconds and steps, and what `memory_figures` and
    `kernel_figures` return; of "generate" also the figures of each of its programs, or with
    low_memory those of each stage, of which the largest is the total; of a program that the
    compiler finds too large what `too_large` returns. Nothing is computed and no weight is made.
    Raises InputError for what the model cannot do, a topology of several chips, a part with
    low_memory, or without the compiler's package.
    """
    chip = chip_of(topology)
    check_count("batchsize (-b)", clips, 1)
    check_quantize(quantize)
    if low_memory and part != "generate":
        raise InputError(f"--part {part}: --low_memory has stages; leave --part out")
    config = named_config(name)
    duration = exact_duration(seconds, config, CONVENTIONS["authors"])
    schedule = check_sampling(config, sampler, steps, 0.0).schedule
    devices = devices_of(topology)
    if len(devices) > 1:
        raise InputError(
            f"--topology {topology}: each chip samples its own clips; rehearse one of them"
        )
    evaluations = len(schedule.timesteps)
    what = {"model": name, "part": part, "chips": 1, "batch": clips}
    what |= {"seconds of sound": duration.seconds, "steps": evaluations, "quantize": quantize}
    with backend.targeting(chip.platform):
        batch = typical_batch(
            config, duration.frames, schedule, clips, guided=default_guidance(config) > 1
        )
        shapes = model_shapes(config, backend.current().dtype, quantize)
        if low_memory:
            return what | rehearse_in_turn(config, shapes, batch, chip, devices[0], dump)
        programs = _programs(config, shapes, batch)
        return what | _figures(programs, part, evaluations, chip, devices[0], dump)


def _figures(
    programs: dict[str, tuple], part: str, evaluations: int, chip: Chip, device, dump: str | None
) -> dict:
    """What `rehearse_sampling` returns of compiled programs. evaluations: of the sampler's loop."""
    figures, kernels = {}, {}
    for key in PROGRAMS if part == "generate" else (part,):
        run, arguments = programs[key]
        try:
            compiled = compile_there(jax.jit(run).lower(*on_device(device, arguments)))
        except jax.errors.JaxRuntimeError as error:
            return {"part": key} | too_large(str(error))
        text = compiled_text(compiled, dump if key in (part, "sample") else None)
        # The sampler's loop takes the number of its steps as an argument.
        kernels[key] = read_kernels(hlo.parse(text), evaluations if key == "sample" else None)
        figures[key] = memory_figures(compiled, chip)
    if part != "generate":
        return figures[part] | kernel_figures(kernels[part], chip)
    each = {key: figures[key] | kernel_figures(kernels[key], chip) for key in PROGRAMS}
    whole = kernel_figures(together(kernels.values()), chip)
    return _memory(programs, figures) | whole | {"programs": each}


def _programs(config: ModelConfig, shapes: dict, batch: Batch) -> dict[str, tuple]:
    """{part: (its function, its arguments as shapes, parameters first)}. shapes: of the weights."""
    dtype = backend.current().dtype
    program = program_of(config, dtype)
    params = jax.eval_shape(lambda p: prepack_params(p, dtype), shapes)
    latents, guidance = batch.clips.latents, batch.clips.guidance
    loop = dataclasses.replace(batch.clips, texts=None), *pad_schedule(batch.schedule)
    condition: Callable[..., Any] = partial(shared.condition, program)
    context, _ = jax.eval_shape(condition, params, batch.clips.texts)
    biases = jax.eval_shape(partial(shared.time_bias, program), params, loop[1].timesteps)

    def step(params, context, biases, x, index, guidance):
        return shared.denoiser(program, params, context, biases, guidance)(x, index)

    return {
        "condition": (condition, (params, batch.clips.texts)),
        "sample": (partial(shared.sample_latents, program), (params, context, *loop)),
        "render": (partial(shared.render, program), (params, latents)),
        "unet": (step, (params, context, biases, latents, np.zeros((), np.int32), guidance)),
    }


def _memory(programs: dict[str, tuple], figures: dict[str, dict]) -> dict:
    """Gigabytes of all programs: the weights, and what the largest program takes beside them."""
    weights = tree.nbytes(programs["condition"][1][0]) / 1e9
    beside = {
        key: tree.nbytes(programs[key][1][1:]) / 1e9 + each["GB temporary"] + each["GB output"]
        for key, each in figures.items()
    }
    largest = max(beside, key=beside.get)
    total, chip = weights + beside[largest], figures[largest]["GB chip"]
    return figures[largest] | {
        "GB arguments": total
        - sum(figures[largest][f"GB {name}"] for name in ("temporary", "output")),
        "GB total": total,
        "fits": total <= chip,
    }
