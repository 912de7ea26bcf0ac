"""The training state, initialised on the mesh."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax import sharding, tree
from audioldm2_jax.training.optim import make_optimizer
from audioldm2_jax.training.spec import Stage


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "ema", "opt", "key", "skipped"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class TrainState:
    """step: taken so far; params, ema: by part; opt: by group; key: never advances; skipped: steps
    in a row that were not finite.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt: Any
    key: jax.Array
    skipped: jax.Array


def init_state(stage: Stage, key, weights: dict | None = None) -> TrainState:
    """A new state. weights: of parts that are not initialised at random."""
    weights = dict(weights or {})
    trained = {part for group in stage.groups.values() for part in group.parts}
    params = weights
    # Given parts are left out of `init`, whose compilation takes minutes for a large network.
    if trained - set(weights):
        without = (tuple(sorted(weights)),) if weights else ()
        params = stage.init(jax.random.fold_in(key, 0), *without) | weights
    opt = {}
    for name, group in stage.groups.items():
        own, _ = partition({part: params[part] for part in group.parts}, group.frozen_params)
        opt[name] = make_optimizer(group.optim).init(own)
    zero = jnp.zeros((), jnp.int32)
    # A copy: donated buffers must not be shared.
    ema = {part: jax.tree.map(jnp.copy, params[part]) for part in stage.ema}
    return TrainState(zero, params, ema, opt, key, zero)


def partition(params: dict, patterns: tuple[str, ...]) -> tuple[dict, dict]:
    """(the tree without the parameters whose paths a pattern matches, those by path)."""
    if not patterns:
        return params, {}
    pattern, flat = re.compile("|".join(patterns)), tree.flatten(params)
    frozen = {path: value for path, value in flat.items() if pattern.search(path)}
    return tree.unflatten({p: v for p, v in flat.items() if p not in frozen}), frozen


def combine(params: dict, frozen: dict) -> dict:
    """The inverse of `partition`."""
    return tree.unflatten(tree.flatten(params) | frozen) if frozen else params


def state_shapes(stage: Stage) -> TrainState:
    """The shapes of a state."""
    return jax.eval_shape(lambda key: init_state(stage, key), jax.random.key(0))


def state_shardings(stage: Stage, mesh) -> TrainState:
    """Shardings of the state; parameters, averages and moments lie alike."""
    return sharding.tree_shardings(state_shapes(stage), mesh)


def init_sharded(stage: Stage, mesh, seed: int, weights: dict | None = None) -> TrainState:
    """A new state on the mesh; no device ever holds all of it. weights: as of `init_state`."""
    placed = state_shardings(stage, mesh)
    if weights:
        weights = jax.device_put(weights, {part: placed.params[part] for part in weights})
    init = jax.jit(lambda key, weights: init_state(stage, key, weights), out_shardings=placed)
    return init(jax.random.key(seed), weights or {})
