"""Compile-only dry runs of a training step for TPU pods and GPUs: memory, FLOP, traffic, time.

libtpu and JAX's plugin for CUDA compile on any machine. Nothing is run: there are shapes only, no
weights and no data.
"""

from __future__ import annotations

import math

import jax
from ml_collections import ConfigDict

from audioldm2_jax import backend
from audioldm2_jax.rehearsal import hlo
from audioldm2_jax.rehearsal.chips import (
    Chip,
    chip_of,
    compile_there,
    compiled_text,
    devices_of,
)
from audioldm2_jax.rehearsal.kernels import Kernels, read_kernels
from audioldm2_jax.rehearsal.report import (
    collective_figures,
    kernel_figures,
    memory_figures,
    too_large,
)
from audioldm2_jax.training.run import Run, jitted_step, open_run
from audioldm2_jax.training.shapes import batch_shapes, frozen_shapes
from audioldm2_jax.training.state import state_shapes, state_shardings


def rehearse_training(
    config: ConfigDict, topology: str, *, precomputed: bool = False, dump: str | None = None
) -> dict:
    """What one step of a run needs on each chip of a topology such as v5e:4x4 or h100:8.

    precomputed: the run reads a corpus that `encode` has written, and needs no frozen encoders;
    dump: a file that the compiled program's text is written to.
    -> chips, batch, million parameters, TFLOP, gigabytes accessed, collectives (count and gigabytes
    by kind), seconds predicted by a roofline, with what bounds them, and what `memory_figures` and
    `kernel_figures` return. Of a step that the compiler finds too large for the chips: chips,
    batch, and what `too_large` returns. Raises InputError for an unknown topology or without the
    compiler's package.
    """
    chip, devices = chip_of(topology), devices_of(topology)
    with backend.targeting(chip.platform):
        run = open_run(config, devices)
        what = {"chips": len(devices), "batch": run.config.batch}
        try:
            compiled = _compile(run, precomputed)
        except jax.errors.JaxRuntimeError as error:
            return what | too_large(str(error))
    program = read_kernels(hlo.parse(compiled_text(compiled, dump)))
    return what | _figures(run, compiled, chip, program)


def _compile(run: Run, precomputed: bool):
    stage, mesh = run.spec.stage, run.mesh
    placed = state_shardings(stage, mesh)
    state = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        state_shapes(stage),
        placed,
    )
    with jax.set_mesh(mesh):
        batch = batch_shapes(run, precomputed=precomputed)
        lowered = jitted_step(run, placed).lower(state, frozen_shapes(run, batch), batch)
        return compile_there(lowered)


def _figures(run: Run, compiled, chip: Chip, program: Kernels) -> dict:
    kernels, collectives = kernel_figures(program, chip), collective_figures(program)
    # XLA's own count where there is one; it has none for GPUs.
    costs = compiled.cost_analysis() or {}
    flops = costs.get("flops", kernels["GFLOP"] * 1e9)
    accessed = costs.get("bytes accessed", kernels["GB moved"] * 1e9)
    bounds = {
        "compute": flops / chip.flops,
        "memory": accessed / chip.bandwidth,
        "links": kernels["GB sent"] * 1e9 / chip.links,
    }
    slowest = max(bounds, key=bounds.get)
    shapes = jax.eval_shape(run.spec.stage.init, jax.random.key(0))
    figures = {
        "million parameters": sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) / 1e6,
        **memory_figures(compiled, chip),
        "TFLOP": flops / 1e12,
        "GB accessed": accessed / 1e9,
        "collectives": collectives,
        "seconds predicted": bounds[slowest],
        "bound by": slowest,
        "clips/s predicted": run.config.batch / bounds[slowest],
    }
    return figures | kernels
