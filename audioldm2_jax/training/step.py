"""One step of any stage: losses, gradients over micro-batches, updates and averages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from audioldm2_jax import backend
from audioldm2_jax.training import entries
from audioldm2_jax.training.optim import learning_rate, make_optimizer
from audioldm2_jax.training.spec import Stage, TrainableGroup
from audioldm2_jax.training.state import TrainState, combine, partition


def make_step(
    stage: Stage,
    *,
    accumulate: int = 1,
    ema_decay: float = entries.ENTRIES["ema_decay"].default,
    hosts: int = 1,
) -> Callable:
    """(state, frozen, batch) -> (state, metrics).

    accumulate: micro-batches whose gradients are averaged. Random draws belong to clips: their keys
    are of the state's key, the step and the clip's index in the stream, so that neither the mesh,
    nor `accumulate`, nor the number of `hosts` changes them. A step whose loss or gradient is not
    finite changes nothing but the counters.
    """
    optimizers = {name: make_optimizer(group.optim) for name, group in stage.groups.items()}

    def step(state: TrainState, frozen: dict, batch: dict):
        params, opt, metrics, is_finite = dict(state.params), dict(state.opt), {}, jnp.array(True)
        key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step)
        size = jax.tree.leaves(batch)[0].shape[0]
        # All groups use the same draws: discriminators see what the generator then outputs.
        keys = jax.random.split(key, size)[stream_positions(size, hosts)]
        for name, group in stage.groups.items():
            gradients = group_gradients(group, params, frozen, batch, keys, state.step, accumulate)
            updates = group_update(group, optimizers[name], params, opt[name], *gradients)
            new_params, opt[name], group_metrics, group_is_finite = updates
            params |= new_params
            group_metrics["rate"] = learning_rate(group.optim)(state.step)
            prefix = f"{name}/" if len(stage.groups) > 1 else ""
            metrics |= {prefix + key: value for key, value in group_metrics.items()}
            is_finite &= group_is_finite
        # Early averages forget the initial weights sooner.
        count = state.step.astype(jnp.float32)
        decay = jnp.minimum(ema_decay, (1 + count) / (10 + count))
        ema = {
            part: optax.incremental_update(params[part], average, 1 - decay)
            for part, average in state.ema.items()
        }
        metrics["skipped"] = skipped = jnp.where(is_finite, 0, state.skipped + 1)
        new = {"step": state.step + 1, "params": params, "ema": ema, "opt": opt, "skipped": skipped}
        return dataclasses.replace(state, **new), metrics

    return step


def group_gradients(group: TrainableGroup, params, frozen, batch, keys, step, accumulate: int):
    """(loss, metrics, gradients) of a group's own parameters; params: of all parts."""
    others = {part: value for part, value in params.items() if part not in group.parts}
    own, fixed = partition({part: params[part] for part in group.parts}, group.frozen_params)

    def loss(own, micro, keys):
        return group.loss(others | combine(own, fixed), frozen, micro, keys, step)

    return accumulate_gradients(loss, own, batch, keys, accumulate)


def group_update(group: TrainableGroup, optimizer, params, opt, value, metrics, grads):
    """(the group's new parameters, optimiser state, metrics, whether loss and gradient are finite).

    Parameters and state stay as they are where the step is not finite.
    """
    old = {part: params[part] for part in group.parts}
    own, fixed = partition(old, group.frozen_params)
    norm = optax.tree.norm(grads)
    is_finite = jnp.isfinite(value) & jnp.isfinite(norm)
    updates, new_opt = optimizer.update(grads, opt, own)
    metrics = dict(metrics)
    stats = metrics.pop("batch_stats", {})
    new = combine(optax.apply_updates(own, updates), fixed | stats)
    metrics |= {"loss": value, "gradient": norm}
    return _where(is_finite, new, old), _where(is_finite, new_opt, opt), metrics, is_finite


def donated_argnums() -> tuple[int, ...]:
    """Donated arguments of the step: the state; none where the backend does not donate."""
    return (0,) if backend.current().donates else ()


def stream_positions(size: int, hosts: int) -> np.ndarray:
    """Global stream index of each clip in this batch: [size]; hosts read every `hosts`-th clip."""
    return np.arange(size).reshape(-1, hosts).T.reshape(-1)


def accumulate_gradients(loss, own, batch, keys, count: int):
    """(loss, metrics, gradients), means over `count` micro-batches, summed in fp32."""
    grad = jax.value_and_grad(loss, has_aux=True)
    if count == 1:
        (value, metrics), grads = grad(own, batch, keys)
        return value, metrics, grads

    def split(x):
        # Each micro-batch stays spread over all devices.
        return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)

    def add(total, micro):
        (value, metrics), grads = grad(own, *micro)
        return jax.tree.map(lambda t, x: t + x / count, total, (value, metrics, grads)), None

    micros = jax.tree.map(split, (batch, keys))
    shapes = jax.eval_shape(grad, own, *jax.tree.map(lambda x: x[0], micros))
    (value, metrics), grads = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, (value, metrics, grads), micros)[0]


def _where(is_finite, new, old):
    return jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), new, old)
