"""Compile-only dry runs of a training step for TPU pods: memory, FLOP, traffic, predicted time.

libtpu compiles for a topology on any machine. Nothing is run: there are shapes only, no weights and
no data.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

import jax
import numpy as np
from ml_collections import ConfigDict

from audioldm2_jax import backend, sharding
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.run import Run, jitted_step, needed_parts, open_run
from audioldm2_jax.training.state import state_shapes, state_shardings

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclass(frozen=True)
class Chip:
    """Peak bf16 FLOP/s, memory in bytes, its bandwidth and that of all links, bytes/s."""

    flops: float
    memory: float
    bandwidth: float
    links: float


# Google's published figures for each chip; of the memory what the compiler lets a program use.
CHIPS = {
    "v5e": Chip(197e12, 15.75 * 2**30, 819e9, 200e9),
    "v5p": Chip(459e12, 95.73 * 2**30, 2765e9, 600e9),
    "v6e": Chip(918e12, 31.24 * 2**30, 1640e9, 448e9),
}


def rehearse(config: ConfigDict, topology: str, *, precomputed: bool = False) -> dict:
    """What one step of a run needs on each chip of a topology such as v5e:4x4.

    precomputed: the run reads a corpus that `encode` has written, and needs no frozen encoders.
    -> chips, parameters, gigabytes (arguments, temporary, total, limit), tera-FLOP, gigabytes read
    and written, collectives (count and gigabytes by kind), seconds predicted by a roofline, with
    what bounds them. Of a step that the compiler finds too large for the chips: chips, batch, fits
    and the gigabytes that it asks for. Raises InputError for an unknown topology or without libtpu.
    """
    kind = topology.partition(":")[0]
    if kind not in CHIPS:
        raise InputError(f"--topology {topology}: choose a size of {' '.join(CHIPS)}, as v5e:4x4")
    devices = _devices(topology)
    with backend.targeting("tpu"):
        run = open_run(config, devices)
        try:
            compiled = _compile(run, precomputed)
        except jax.errors.JaxRuntimeError as error:
            return _too_large(str(error), len(devices), run.config.batch)
    return _figures(run, compiled, CHIPS[kind], len(devices))


def _devices(topology: str):
    """The topology's devices."""
    # No metadata server, no hosts; its notes about that go to a log, not to the screen.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # No chip is taken, so several processes may compile at once.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    from jax.experimental import topologies

    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # libtpu absent, or a name that it does not know
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--topology {topology}: {line} (libtpu is needed: pip install 'audioldm2-jax[tpu]')"
        ) from None
    return list(description.devices)


def batch_shapes(run: Run, *, precomputed: bool = False) -> dict:
    """Shapes of a batch. precomputed: of a corpus that `encode` has written.

    Raises InputError for stages that train on sound alone.
    """
    batch = run.spec.batch
    if precomputed and not batch.precomputed:
        raise InputError(f"--encoded: stage {run.config.stage} trains on sound")
    placed = sharding.batch_sharding(run.mesh)
    return {
        name: jax.ShapeDtypeStruct((run.config.batch, *x.shape), x.dtype, sharding=placed)
        for name, x in batch.arrays(precomputed=precomputed).items()
    }


def frozen_shapes(run: Run, batch) -> dict:
    """The frozen parts that such batches need, as shapes on the mesh."""
    frozen = run.spec.extra_frozen()
    frozen = jax.tree.map(_like, frozen, sharding.tree_shardings(frozen, run.mesh))
    names = needed_parts(run, batch)
    for name, constant in run.spec.constants.items():
        if constant.part not in names:
            part = {constant.part: _part_shapes(run, constant.part)}
            shape = jax.eval_shape(lambda p, c=constant: c.compute(p, run.dtype), part)
            frozen[name] = _like(shape, sharding.replicated(run.mesh))
    for name in names:
        shapes = _part_shapes(run, name)
        placed = sharding.tree_shardings(shapes, run.mesh)
        frozen[name] = jax.tree.map(lambda s, p: _like(s, p, run.dtype), shapes, placed)
    return frozen


def _part_shapes(run: Run, name: str) -> dict:
    return PARTS[name].shapes(getattr(run.base.model, name))


def check_encoded(run: Run, batch: dict) -> None:
    """Raises InputError where an encoded batch is of another model, or clips of another length."""
    if "waveform" in batch:
        return
    for name, expected in run.spec.batch.precomputed.items():
        if name in batch and (shape := batch[name].shape[1:]) != expected.shape:
            raise InputError(
                f"data.sources {run.config.data.sources}: {name} is {shape} there, and this run's "
                f"model takes {expected.shape} for data.seconds={run.config.data.seconds:g}; "
                "encode the corpus with this base checkpoint and that duration"
            )


def _compile(run: Run, precomputed: bool):
    stage, mesh = run.spec.stage, run.mesh
    placed = state_shardings(stage, mesh)
    state = jax.tree.map(_like, state_shapes(stage), placed)
    with jax.set_mesh(mesh):
        batch = batch_shapes(run, precomputed=precomputed)
        lowered = jitted_step(run, placed).lower(state, frozen_shapes(run, batch), batch)
        return lowered.compile()


def _like(shape, place, dtype=None):
    return jax.ShapeDtypeStruct(shape.shape, dtype or shape.dtype, sharding=place)


def _too_large(error: str, chips: int, batch: int) -> dict:
    """The figures of a step that the compiler finds too large, from its message."""
    size = r"([\d.]+)([MGT])"
    match = re.search(rf"Used {size} of {size} hbm", error) or re.search(
        rf"required for HLO temporaries \({size}\) exceeds available HBM \({size}\)", error
    )
    if not match:
        raise InputError(f"the compiler failed: {error.strip().splitlines()[0]}") from None
    requested, limit = (
        float(value) * {"M": 2**20, "G": 2**30, "T": 2**40}[unit] / 1e9
        for value, unit in (match.group(1, 2), match.group(3, 4))
    )
    return {"chips": chips, "batch": batch, "GB total": requested, "GB chip": limit, "fits": False}


def _figures(run: Run, compiled, chip: Chip, chips: int) -> dict:
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    arguments = memory.argument_size_in_bytes
    temporary = memory.temp_size_in_bytes
    total = arguments + temporary + memory.output_size_in_bytes - memory.alias_size_in_bytes
    traffic = collectives(compiled.as_text())
    # Every chip sends and receives twice as much as it sums up with the others.
    moved = sum(size * (2 if kind == "all-reduce" else 1) for kind, (_, size) in traffic.items())
    bounds = {
        "compute": costs["flops"] / chip.flops,
        "memory": costs.get("bytes accessed", 0.0) / chip.bandwidth,
        "links": moved / chip.links,
    }
    slowest = max(bounds, key=bounds.get)
    shapes = jax.eval_shape(run.spec.stage.init, jax.random.key(0))
    return {
        "chips": chips,
        "batch": run.config.batch,
        "million parameters": sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) / 1e6,
        "GB arguments": arguments / 1e9,
        "GB temporary": temporary / 1e9,
        "GB total": total / 1e9,
        "GB chip": chip.memory / 1e9,
        "fits": True,
        "TFLOP": costs["flops"] / 1e12,
        "GB accessed": costs.get("bytes accessed", 0.0) / 1e9,
        "collectives": {k: {"count": n, "GB": size / 1e9} for k, (n, size) in traffic.items()},
        "seconds predicted": bounds[slowest],
        "bound by": slowest,
        "clips/s predicted": run.config.batch / bounds[slowest],
    }


_TYPES = {"f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "u8": 1}
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """{kind: (count, bytes of the results on one chip)} of a compiled program's text.

    Loops' bodies count once. Of operations in two halves the first one's result holds the
    operands too, so that its largest member counts; else all members do.
    """
    traffic: dict[str, tuple[int, int]] = {}
    for line in program.splitlines():
        match = re.search(rf"= (.*?) ({'|'.join(COLLECTIVES)})(-start)?\(", line)
        if match:
            sizes = [
                _TYPES.get(kind, 4) * int(np.prod([int(n) for n in dims.split(",") if n]))
                for kind, dims in _SHAPE.findall(match[1])
            ]
            count, size = traffic.get(match[2], (0, 0))
            is_async = match[3] and match[2] != "all-reduce"
            size += max(sizes, default=0) if is_async else sum(sizes)
            traffic[match[2]] = (count + 1, size)
    return traffic
