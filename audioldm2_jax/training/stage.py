"""What a stage of training is: named parameters, frozen ones, and losses of pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from audioldm2_jax.training.optim import OptimConfig

# (params, frozen, batch, keys [B], step) -> (loss, metrics). All parts are in `params`, of which
# the player's own are differentiated. Metrics are scalars;
# `moving`, if there, holds new values of the player's parameters by path (statistics).
Loss = Callable[[dict, dict, dict, Any, Any], tuple[Any, dict]]


@dataclass(frozen=True)
class Player:
    """Parts that one loss trains. Players of a stage move in their order, each seeing the last.

    fixed: patterns of paths whose parameters stay as they are, without gradients or moments;
    measure: the loss on clips that are not trained on, where it differs (stored statistics, no
    drop-out).
    """

    parts: tuple[str, ...]
    loss: Loss
    optim: OptimConfig = field(default_factory=OptimConfig)
    fixed: tuple[str, ...] = ()
    measure: Loss | None = None


@dataclass(frozen=True)
class Stage:
    """A stage's networks and losses; the trainer knows no more of it.

    init: (key, parts to leave out) -> parameters by part; players: by name; ema: parts with a
    moving average.
    """

    name: str
    init: Callable[..., dict]
    players: Mapping[str, Player]
    ema: tuple[str, ...] = ()
