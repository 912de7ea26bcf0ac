"""Compiles and runs a batch in the way that suits the device: clips in turn, networks in turn, or
all clips together.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import jax
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.log import timed_message
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.in_turn import InTurn, check_peaks, compile_in_turn, run_in_turn
from audioldm2_jax.pipelines.memory import memory_line, stages_line
from audioldm2_jax.pipelines.output import check_finite
from audioldm2_jax.pipelines.parts import PartsInTurn
from audioldm2_jax.pipelines.programs.shared import Program
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.pipelines.stepwise import Steps, compile_steps, run_steps
from audioldm2_jax.pipelines.together import Together, compile_together, run_together

Programs = InTurn | Steps | Together


def compile_batch(
    runner: Runner, program: Program, params: Mapping, batch: Batch, *, progress: bool
) -> tuple[Programs, Batch]:
    """(what runs the batch, the batch as that takes it).

    params: `PartsInTurn`, or those of all parts. Raises InputError if a program needs more memory
    than is free.
    """
    arguments = runner, program
    if isinstance(params, PartsInTurn):
        programs = compile_in_turn(*arguments, params.shapes, batch, progress=progress)
        check_peaks(programs.peaks)
        return programs, batch
    if runner.mesh is None:
        return compile_steps(*arguments, params, batch, progress=progress), batch
    batch = runner.split(batch)
    return compile_together(*arguments, params, batch, progress=progress), batch


def run_batch(
    runner: Runner, program: Program, params: Mapping, batch: Batch, *, progress: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Waveforms [B, samples] and the prompts' CLAP features [B, D] or None, on the host.

    Raises InputError as `compile_batch`, NumericalError if a waveform is not finite.
    """
    count = len(batch.owners)
    programs, batch = compile_batch(runner, program, params, batch, progress=progress)
    if progress:
        print(_memory_line(programs, params, runner), file=sys.stderr)
    if isinstance(programs, InTurn):
        waves, features = run_in_turn(programs, params, batch, progress=progress)
    elif isinstance(programs, Steps):
        waves, features = run_steps(programs, params, batch, progress=progress)
    else:
        with timed_message(f"generating {count} clips", progress):
            waves, features = jax.block_until_ready(run_together(programs, params, batch))
    waves = np.asarray(waves, np.float32)[:count]
    check_finite(waves, runner.dtype)
    return waves, None if features is None else np.asarray(features)[:count]


def _memory_line(programs: Programs, params: Mapping, runner: Runner) -> str:
    if isinstance(programs, InTurn):
        return stages_line(programs.peaks)
    return memory_line(tree.nbytes(params), programs.needed, runner.devices)
