"""Any stage as training of low-rank changes alone: its parts freeze, and begin with the start's."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import lora
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.stage import Player
from audioldm2_jax.training.stages import Plan

PART = "lora"


def adapted(plan: Plan, rank: int) -> Plan:
    """The plan with one part, `lora`, whose changes are merged into the frozen parts in the loss.

    Raises InputError for stages with several players.
    """
    if set(plan.stage.players) != {"model"}:
        raise InputError(f"lora: stage {plan.stage.name} trains players against each other")
    player = plan.stage.players["model"]
    trained = tuple(part for part in player.parts if part in plan.begin)
    if trained != player.parts:
        raise InputError(f"lora: stage {plan.stage.name} trains parts that no start has")

    def init(key):
        shapes = jax.eval_shape(plan.stage.init, key)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return {PART: lora.make(zeros, rank, key)}

    def merged(inner):
        """The loss of the merged weights; statistics of theirs stay as they are."""

        def loss(params, frozen, batch, keys, step):
            base = {part: frozen[part] for part in trained}
            weights = lora.merge(base, params[PART])
            value, metrics = inner(weights, frozen, batch, keys, step)
            return value, {name: x for name, x in metrics.items() if name != "moving"}

        return loss

    measure = merged(player.measure) if player.measure else None
    changes = Player((PART,), merged(player.loss), player.optim, measure=measure)
    stage = dataclasses.replace(plan.stage, init=init, players={"model": changes}, ema=())
    frozen = (*plan.frozen, *trained)
    about = {"begin": (), "exports": (PART,), "adapts": trained}
    return dataclasses.replace(plan, stage=stage, frozen=frozen, **about)
