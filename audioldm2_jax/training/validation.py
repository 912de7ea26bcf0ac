"""Metrics on held-out clips, every so many steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.training.spec import Stage
from audioldm2_jax.training.state import TrainState


def make_measure(stage: Stage) -> Callable:
    """(state, frozen, batch, first) -> metrics of every group on a batch, by averaged weights.

    first: index of the batch's first clip among all held-out ones. A clip's draws follow from its
    index, so that they are the same at every step and in batches of any size.
    """

    def measure(state: TrainState, frozen: dict, batch: dict, first) -> dict:
        params, metrics = state.params | state.ema, {}
        numbers = first + jnp.arange(size_of(batch))
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(state.key, 2)))(
            numbers
        )
        for name, group in stage.groups.items():
            loss = group.eval_loss or group.loss
            value, group_metrics = loss(params, frozen, batch, keys, state.step)
            group_metrics.pop("batch_stats", None)
            prefix = f"{name}/" if len(stage.groups) > 1 else ""
            metrics |= {f"{prefix}{key}": x for key, x in (group_metrics | {"loss": value}).items()}
        return metrics

    return measure


class Validation:
    """A hook: means of a stage's metrics over held-out clips, whose batches stay on the devices.

    batches: of arrays, placed on the mesh, of any sizes. Metrics are named valid/...
    """

    def __init__(self, stage: Stage, every: int, batches: list[dict]):
        self.every, self._batches = every, batches
        self._measure = jax.jit(make_measure(stage))

    def __call__(self, step: int, state: TrainState, frozen: Any) -> dict[str, float]:
        results, sizes = [], [size_of(batch) for batch in self._batches]
        for number, batch in enumerate(self._batches):
            results.append(self._measure(state, frozen, batch, jnp.int32(sum(sizes[:number]))))

        def mean(*values):
            return sum(size * float(x) for size, x in zip(sizes, values)) / sum(sizes)

        means = jax.tree.map(mean, *jax.device_get(results))
        return {f"valid/{name}": value for name, value in means.items()}


def size_of(batch: dict) -> int:
    """Clips of a batch of arrays."""
    return jax.tree.leaves(batch)[0].shape[0]
