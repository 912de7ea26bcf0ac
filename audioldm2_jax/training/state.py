"""The training state, born sharded."""

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


def init_state(stage: Stage, key, start: dict | None = None) -> TrainState:
    """A fresh state; parts in `start` begin with these parameters."""
    start = dict(start or {})
    trained = {part for group in stage.groups.values() for part in group.parts}
    params = start
    # What the start gives is not drawn: for a large network that alone takes minutes to compile.
    if trained - set(start):
        without = (tuple(sorted(start)),) if start else ()
        params = stage.init(jax.random.fold_in(key, 0), *without) | start
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


def state_shardings(stage: Stage, mesh):
    """Shardings of the state; parameters, averages and moments lie alike."""
    shapes = jax.eval_shape(lambda key: init_state(stage, key), jax.random.key(0))
    return sharding.of_tree(shapes, mesh)


def init_sharded(stage: Stage, mesh, seed: int, start: dict | None = None) -> TrainState:
    """A fresh state on the mesh; no device ever holds all of it."""
    placed = state_shardings(stage, mesh)
    if start:
        parts = {part: placed.params[part] for part in start}
        start = jax.device_put(start, parts)
    run = jax.jit(lambda key, start: init_state(stage, key, start), out_shardings=placed)
    return run(jax.random.key(seed), start or {})
