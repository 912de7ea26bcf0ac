"""Shapes of what a training step takes: the batch and the frozen parts, without data or weights."""

from __future__ import annotations

import jax

from audioldm2_jax import sharding
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.run import Run, needed_parts


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


def _like(shape, place, dtype=None):
    return jax.ShapeDtypeStruct(shape.shape, dtype or shape.dtype, sharding=place)
