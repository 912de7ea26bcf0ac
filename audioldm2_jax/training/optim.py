"""Learning rates and optimisers."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from audioldm2_jax.errors import InputError

SCHEDULES = ("constant", "cosine", "exponential")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW as torch has it, after a linear warm-up.

    schedule: constant; cosine, to zero at `steps`; exponential, by `decay` every `decay_every`
    steps. clip: bound of the gradient's global norm, 0 for none.
    """

    learning_rate: float = 1e-4
    warmup: int = 1000
    schedule: str = "constant"
    steps: int = 100_000
    decay: float = 1.0
    decay_every: int = 1000
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0


def learning_rate(config: OptimConfig) -> optax.Schedule:
    """The rate by step. Raises InputError for an unknown schedule."""
    if config.schedule == "cosine":
        rest = max(1, config.steps - config.warmup)
        after = optax.cosine_decay_schedule(config.learning_rate, rest)
    elif config.schedule == "exponential":
        after = optax.exponential_decay(
            config.learning_rate, config.decay_every, config.decay, staircase=True
        )
    elif config.schedule == "constant":
        after = optax.constant_schedule(config.learning_rate)
    else:
        raise InputError(f"schedule {config.schedule!r}: choose one of {' '.join(SCHEDULES)}")
    if not config.warmup:
        return after
    # The first step moves already: warm-up ends, not begins, at whole steps.
    rise = optax.linear_schedule(
        config.learning_rate / config.warmup, config.learning_rate, config.warmup - 1
    )
    return optax.join_schedules([rise, after], [config.warmup])


def make_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """AdamW with gradient clipping, the schedule and decay of the configuration."""
    clip = _clipped(config.clip) if config.clip else optax.identity()
    adam = optax.adamw(
        learning_rate(config),
        b1=config.beta1,
        b2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    return optax.chain(clip, adam)


def _clipped(limit: float) -> optax.GradientTransformation:
    """optax.clip_by_global_norm by one factor: it fuses with what follows, a division does not."""

    def scaled(grads, _):
        factor = limit / jnp.maximum(optax.tree.norm(grads), limit)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)

    return optax.stateless(scaled)
