"""What a trainer does every so many steps beside training: figures on clips held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.training.stage import Stage
from audioldm2_jax.training.state import TrainState


def make_measure(stage: Stage) -> Callable:
    """(state, frozen, batch, number) -> metrics of every player on a batch, by averaged weights.

    number: of the batch; its draws follow from it, so that they are the same at every step.
    """

    def measure(state: TrainState, frozen: dict, batch: dict, number) -> dict:
        params, metrics = state.params | state.ema, {}
        size = jax.tree.leaves(batch)[0].shape[0]
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2), number)
        keys = jax.random.split(key, size)
        for name, player in stage.players.items():
            loss = player.measure or player.loss
            value, found = loss(params, frozen, batch, keys, state.step)
            found.pop("moving", None)
            prefix = f"{name}/" if len(stage.players) > 1 else ""
            metrics |= {f"{prefix}{key}": x for key, x in (found | {"loss": value}).items()}
        return metrics

    return measure


class Validation:
    """A hook: means of a stage's metrics over held-out batches, which stay on the devices.

    batches: of arrays, placed on the mesh. Metrics are named valid/...
    """

    def __init__(self, stage: Stage, every: int, batches: list[dict]):
        self.every, self._batches = every, batches
        self._measure = jax.jit(make_measure(stage))

    def __call__(self, step: int, state: TrainState, frozen: Any) -> dict[str, float]:
        found = [
            self._measure(state, frozen, batch, jnp.int32(number))
            for number, batch in enumerate(self._batches)
        ]
        means = jax.tree.map(lambda *x: sum(map(float, x)) / len(x), *jax.device_get(found))
        return {f"valid/{name}": value for name, value in means.items()}
