"""GPT-2 learns the language of audio, teacher-forced (AudioLDM 2, section III-B)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.models.gpt2 import GPT2, empty_cache, roll_out
from audioldm2_jax.models.loa_projection import LOAProjection, sequence_positions
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training.stages import conditions

ERRORS = {"l1": jnp.abs, "mse": jnp.square}


@dataclass(frozen=True)
class Sequence:
    """Settings. error: l1, as the released code has it, or mse, as the paper writes; free: weight
    of the error of a free roll-out, 0 for none; through: its gradients flow from vector to vector,
    which takes long where there are many; audio: share of clips whose CLAP vector is of the
    sound (the paper's speech models, whose corpora have no captions), not of the caption; text: T5
    learns too, for models whose T5 is not a published one; hide: the most of a clip's true vectors
    that GPT-2's prefix lacks, so that it reads the conditions, not the vectors before alone.
    """

    model: ModelConfig
    pooling: int = 8
    error: str = "l1"
    free: float = 0.0
    through: bool = True
    audio: float = 0.0
    text: bool = False
    hide: float = 0.0
    dtype: Any = jnp.float32
    remat: str = "none"

    def __post_init__(self):
        if self.error not in ERRORS:
            raise InputError(f"error {self.error!r}: choose one of {' '.join(ERRORS)}")
        if not 0 <= self.hide <= 1:
            raise InputError(f"settings.hide {self.hide}: a share from 0 to 1")

    @property
    def poolings(self) -> tuple[int, ...]:
        return (self.pooling,)


def beginning(settings: Any, params: dict, vector, states, mask):
    """GPT-2's input of the conditions: (sequence [B, S, D], its mask, lengths of the texts [B])."""
    projection = LOAProjection(settings.model.projection, settings.dtype)
    sequence, kept = projection.apply({"params": params["projection"]}, vector, states, mask)
    # Of speech every phoneme slot counts; its padding is part of the sequence.
    full = jnp.full(mask.shape[0], mask.shape[1], jnp.int32)
    return sequence, kept, full if settings.model.phonemes else mask.sum(-1)


def forced(settings: Any, params: dict, sequence, kept, lengths, truth):
    """What GPT-2 makes of the true prefix at every place: [B, L, D].

    sequence, kept, lengths: of `beginning`; truth: [B, L, D].
    """
    model, count = settings.model, truth.shape[1]
    batch, start, _ = sequence.shape
    whole = jnp.concatenate([sequence, truth[:, :-1].astype(sequence.dtype)], 1)
    front = sequence_positions(start - 5, lengths)
    after = front[:, -1:] + 1 + jnp.arange(count - 1)
    positions = jnp.concatenate([front, after], 1)
    mask = jnp.concatenate([kept, jnp.ones((batch, count - 1), bool)], 1)
    cache = empty_cache(model.gpt2, batch, whole.shape[1], settings.dtype)
    gpt2 = GPT2(model.gpt2, settings.dtype, settings.remat)
    states, _ = gpt2.apply({"params": params["gpt2"]}, whole, positions, cache, 0, mask)
    return states[:, start - 1 :]


def rolled(settings: Any, params: dict, sequence, kept, lengths, count: int):
    """GPT-2's free continuation: [B, count, D]; arguments as of `forced`.

    Without `settings.through` the same vectors come of one more pass over those rolled out, and
    gradients of that pass alone.
    """
    gpt2 = GPT2(settings.model.gpt2, settings.dtype, settings.remat)
    positions = sequence_positions(sequence.shape[1] - 5, lengths)
    given = params["gpt2"], sequence
    if not settings.through:
        given = jax.lax.stop_gradient(given)
    made = roll_out(gpt2, *given, kept, positions, tokens=count)
    return made if settings.through else forced(settings, params, sequence, kept, lengths, made)


def shown(shape, keys, hide: float):
    """Which true vectors a prefix has: [B, L]; each clip lacks a share, drawn below `hide`."""

    def one(key):
        share, places = jax.random.split(jax.random.fold_in(key, 5))
        return jax.random.uniform(places, shape[1:]) >= hide * jax.random.uniform(share)

    return jax.vmap(one)(keys)


def partial_prefix(settings: Any, params: dict, start: tuple, truth, keys):
    """The true vectors [B, L, D] without the hidden ones; start: of `beginning`.

    In their place are zeros (word dropout: Bowman et al. 2016) or, of every other clip, what GPT-2
    makes of the prefix with zeros (scheduled sampling in parallel: Duckworth et al. 2019).
    """
    kept = shown(truth.shape[:2], keys, settings.hide)[..., None]
    blank = jnp.where(kept, truth, 0)
    params, start = jax.lax.stop_gradient((params, start))
    own = forced(settings, params, *start, blank).astype(truth.dtype)
    chosen = conditions.draw(keys, 6, 0.5)
    return conditions.where(chosen, jnp.where(kept, truth, own), blank)


def sequence_loss(settings: Sequence, *, held: bool = False) -> Callable:
    """held: for clips that are not trained on: nothing is hidden, and the roll-out's error told."""
    error = ERRORS[settings.error]
    if held:
        settings = dataclasses.replace(settings, hide=0.0, through=True)

    def loss(params, frozen, batch, keys, step):
        truth = conditions.true_loas(settings, frozen, batch)[settings.pooling]
        vector = conditions.clap_vector(settings, frozen, batch, keys)
        states, mask = conditions.text_states(settings, params, frozen, batch)
        start = beginning(settings, params, vector, states, mask)
        prefix = truth
        if settings.hide:
            prefix = partial_prefix(settings, params, start, truth, keys)
        made = forced(settings, params, *start, prefix)
        value = error(made.astype(jnp.float32) - truth).mean()
        metrics = {"forced": value, "mean": error(truth - truth.mean(0)).mean()}
        if settings.free or held:
            free = rolled(settings, params, *start, truth.shape[1])
            metrics["free"] = error(free.astype(jnp.float32) - truth).mean()
            value = value + settings.free * metrics["free"]
        return value, metrics

    return loss
