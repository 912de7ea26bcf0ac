"""A batch whose networks are in memory in turn, for small cards and laptops.

The text encoders read all texts and leave, the U-Net samples the latents, the decoders render them.
Clips are computed one after another, by the programs of `stepwise`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.log import timed_message
from audioldm2_jax.pipelines import stepwise
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.parts import PartsInTurn, stage_bytes, stage_parts
from audioldm2_jax.pipelines.programs import shared
from audioldm2_jax.pipelines.programs.shared import Program
from audioldm2_jax.pipelines.runner import Runner, check_peak, needed_memory, result_shapes


class InTurn(NamedTuple):
    """Compiled programs of one clip. peaks: {stage: bytes that it takes, its weights included}."""

    encode: Callable
    context: Callable
    predict: Callable
    render: Callable
    peaks: dict[str, int]


def compile_in_turn(
    runner: Runner, program: Program, shapes: Mapping, batch: Batch, *, progress: bool
) -> InTurn:
    """The programs of a batch. shapes: of the parameters, by part.

    Raises InputError if a stage needs more memory than is free.
    """
    compiled = functools.partial(runner.compiled, progress=progress)
    encoders, unet, decoders = (stage_parts(shapes, stage) for stage in stage_bytes(shapes))
    texts, shape = batch.clips.texts.take([0]), (1, *batch.clips.latents.shape[1:])
    encode = compiled(_encode, program, encoders, texts, label="text encoders")
    conditioning = result_shapes(encode)
    arguments = program, unet, conditioning
    context = compiled(shared.unet_context, *arguments, label="U-Net's context")
    inputs = result_shapes(context)
    latents = jax.ShapeDtypeStruct(shape, jnp.float32)
    guidance = np.zeros(1, np.float32) if texts.guided else None
    arguments = program, unet, inputs, latents, np.float32(0), guidance
    predict = compiled(stepwise.predict_once, *arguments, label="U-Net")
    render = compiled(shared.render, program, decoders, latents, label="decoders")
    # What stays of all clips: the conditioning of their texts, and their latents.
    count = len(batch.owners)
    kept = count * (tree.nbytes(conditioning) + tree.nbytes(latents))
    needs = (
        needed_memory(encode),
        max(needed_memory(context), tree.nbytes(inputs) + needed_memory(predict)),
        needed_memory(render),
    )
    weights = stage_bytes(shapes)
    peaks = {stage: weights[stage] + need + kept for stage, need in zip(weights, needs)}
    for stage, peak in peaks.items():
        check_peak(peak, f"the {stage}")
    return InTurn(encode, context, predict, render, peaks)


def run_in_turn(
    programs: InTurn, params: PartsInTurn, batch: Batch, *, progress: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """(waveforms [B, samples] fp32, the prompts' CLAP features [B, D] or None), behind a bar."""
    read = functools.partial(_read, params, progress=progress)
    conditionings = _encode_all(programs, read("text encoders"), batch)
    latents = _sample_all(programs, read("U-Net"), batch, conditionings, progress)
    waves = _render_all(programs, read("decoders"), latents)
    features = [c.clap_features for c in conditionings]
    if features[0] is None:
        return waves, None
    if batch.clips.texts.guided:
        features = [rows[1::2] for rows in features]
    return waves, np.concatenate(features)


def _read(params, stage, *, progress):
    """A stage's parameters, on JAX's device. Only the caller holds them."""
    with timed_message(f"loading the {stage}", progress):
        return jax.block_until_ready(jax.device_put(stage_parts(params, stage)))


def _encode_all(programs, params, batch):
    """The conditioning of each clip's texts, once for clips of one request."""
    results, owner = [], None
    for i, own in enumerate(batch.owners):
        if own != owner:
            owner = own
            result = programs.encode(params, batch.clips.texts.take([i]))
        results.append(result)
    return jax.block_until_ready(results)


def _sample_all(programs, params, batch, conditionings, progress):
    """The latents [1, T, F, C] of each clip."""
    from tqdm import tqdm

    results, last = [], None
    total = len(batch.owners) * len(batch.schedule.timesteps)
    settings = {"desc": "sampling", "unit": "step", "file": sys.stderr, "disable": not progress}
    with tqdm(total=total, **settings) as bar:
        for i, conditioning in enumerate(conditionings):
            if conditioning is not last:
                last = conditioning
                context = programs.context(params, conditioning)
            predict = functools.partial(programs.predict, params, context)
            results.append(stepwise.sample_clip(predict, batch, i, bar.update))
    return results


def _render_all(programs, params, latents):
    waves = [np.asarray(programs.render(params, x), np.float32) for x in latents]
    return np.concatenate(waves)


def _encode(program: Program, params: dict, texts):
    return program.encode_texts(program.config, program.dtype, params, texts)
