"""Sampling with `--low_memory` compiled for a chip that is not there: what each stage takes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax

from audioldm2_jax import backend
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.in_turn import compile_in_turn
from audioldm2_jax.pipelines.parts import stage_bytes
from audioldm2_jax.pipelines.programs import program_of
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.rehearsal import hlo
from audioldm2_jax.rehearsal.chips import Chip, compile_there, compiled_text, on_device
from audioldm2_jax.rehearsal.kernels import Kernels, read_kernels, together
from audioldm2_jax.rehearsal.report import kernel_figures, too_large

# The programs of each stage, by the labels of `compile_in_turn`.
_STAGES = {
    "text encoders": ("text encoders",),
    "U-Net": ("U-Net's context", "U-Net"),
    "decoders": ("decoders",),
}


class _Absent(Runner):
    """Compiles for a device that is not there. dump: a file for the U-Net's compiled text."""

    def __init__(self, dtype, device, dump: str | None):
        super().__init__(dtype)
        self.device, self.dump = device, dump
        self.kernels: dict[str, Kernels] = {}

    def compiled(self, function, program, *arguments, label: str, progress: bool):
        """As `Runner.compiled`; nothing is asked about this machine's memory."""
        run = jax.jit(functools.partial(function, program))
        compiled = compile_there(run.lower(*on_device(self.device, arguments)))
        text = compiled_text(compiled, self.dump if label == "U-Net" else None)
        self.kernels[label] = read_kernels(hlo.parse(text))
        return compiled


def rehearse_in_turn(
    config: ModelConfig, shapes: Mapping, batch: Batch, chip: Chip, device, dump: str | None
) -> dict:
    """Figures of a batch's clips, one after another, by the programs that `--low_memory` runs.

    shapes: of the weights, by part. The backend is that of `backend.targeting`. -> "GB total" of
    the largest stage, "GB chip", "fits", what `kernel_figures` returns of all clips with a text
    each, and "stages": gigabytes of each one's weights and in all, and its kernels. Of a program
    that the compiler finds too large what `too_large` returns.
    """
    dtype = backend.current().dtype
    runner = _Absent(dtype, device, dump)
    try:
        programs = compile_in_turn(runner, program_of(config, dtype), shapes, batch, progress=False)
    except jax.errors.JaxRuntimeError as error:
        return too_large(str(error))
    clips, evaluations = len(batch.owners), len(batch.schedule.timesteps)
    runs = dict.fromkeys(runner.kernels, clips) | {"U-Net": clips * evaluations}
    kernels = {
        stage: together(_repeated(runner.kernels[label], runs[label]) for label in labels)
        for stage, labels in _STAGES.items()
    }
    stages = {}
    for stage, weights in stage_bytes(shapes).items():
        sizes = {"GB weights": weights / 1e9, "GB total": programs.peaks[stage] / 1e9}
        stages[stage] = sizes | kernel_figures(kernels[stage], chip)
    total = max(programs.peaks.values())
    sizes = {"GB total": total / 1e9, "GB chip": chip.memory / 1e9, "fits": total <= chip.memory}
    return sizes | kernel_figures(together(kernels.values()), chip) | {"stages": stages}


def _repeated(program: Kernels, times: int) -> Kernels:
    kernels = tuple(dataclasses.replace(k, count=times * k.count) for k in program.kernels)
    return Kernels(kernels, program.unknown_loops)
