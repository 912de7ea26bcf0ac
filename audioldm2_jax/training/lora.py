"""Turns a stage into LoRA fine-tuning: its parts freeze, low-rank changes of them train."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import lora
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.spec import Loss, StageSpec, TrainableGroup

PART = "lora"


def lora_stage(spec: StageSpec, rank: int) -> StageSpec:
    """The stage with one trained part, `lora`, which the loss merges into the frozen weights.

    Raises InputError for stages of networks against each other, also where settings leave out one
    of them, and for stages with parts that no checkpoint holds.
    """
    stage = spec.stage
    if set(stage.groups) != {"model"}:
        raise InputError(f"lora: stage {stage.name} trains networks against each other")
    group = stage.groups["model"]
    parts = tuple(part for part in group.parts if part in spec.init_from_base)
    if parts != group.parts:
        raise InputError(f"lora: stage {stage.name} trains parts that no base checkpoint has")

    def init(key):
        shapes = jax.eval_shape(stage.init, key)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return {PART: lora.make(zeros, rank, key)}

    def merged(inner: Loss) -> Loss:
        """The loss of the merged weights; batch statistics stay as they are."""

        def loss(params, frozen, batch, keys, step):
            base = {part: frozen[part] for part in parts}
            weights = lora.merge(base, params[PART])
            value, metrics = inner(weights, frozen, batch, keys, step)
            return value, {name: x for name, x in metrics.items() if name != "batch_stats"}

        return loss

    eval_loss = merged(group.eval_loss) if group.eval_loss else None
    changes = TrainableGroup((PART,), merged(group.loss), group.optim, eval_loss=eval_loss)
    # Another name: `init` reads the old stage when it is called.
    adapted = dataclasses.replace(stage, init=init, groups={"model": changes}, ema=())
    frozen = dict(spec.frozen) | dict.fromkeys(parts, ())
    lora_spec = {"init_from_base": (), "exports": (PART,), "lora_base": parts}
    return dataclasses.replace(spec, stage=adapted, frozen=frozen, **lora_spec)
