"""MusicGen's programs: the text's keys and values, the streams step by step, their waveform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.decoding.delay import UNKNOWN
from audioldm2_jax.decoding.sampling import Sampling, draw, step_keys
from audioldm2_jax.models.musicgen import MusicGenLM
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.presets import MusicGenConfig


@dataclass(frozen=True)
class MusicProgram:
    """What programs are compiled for.

    guided: whether there are R = 2 B rows, the clips with their texts and then without; else R = B.
    """

    config: MusicGenConfig
    dtype: Any
    guided: bool

    @property
    def lm(self) -> MusicGenLM:
        """The language model."""
        return MusicGenLM(self.config.musicgen_lm, self.dtype)

    def rows(self, clips) -> jax.Array:
        """[B, ...] -> [R, ...], the same with the text and without it."""
        return jnp.concatenate([clips, clips]) if self.guided else clips


def read_texts(program: MusicProgram, params: dict, tokens, mask) -> tuple:
    """(keys and values of the texts, their mask [R, S]). tokens, mask: [B, S] of T5.

    A text of which nothing is kept is none: its keys and values are zeros.
    """
    t5 = T5Encoder(program.config.t5, program.dtype)
    states = t5.apply({"params": params["t5"]}, tokens, mask)
    states, mask = program.rows(states), mask.astype(bool)
    if program.guided:
        mask = jnp.concatenate([mask, jnp.zeros_like(mask)])
    variables = {"params": params["musicgen_lm"]}
    return program.lm.apply(variables, states, mask, method="read_text"), mask


def fill(program: MusicProgram, params: dict, cache, text, tokens):
    """The cache after a prompt. tokens: [B, L, Q], the sequence's first; what is unknown is read as
    a pad, and its slots are written again by `advance`.
    """
    known = jnp.where(tokens == UNKNOWN, program.config.musicgen_lm.pad, tokens)
    return _step(program, params, program.rows(known), cache, 0, text)[1]


def advance(
    program: MusicProgram,
    params: dict,
    cache,
    text,
    sequence,
    slot,
    stop,
    first,
    keys,
    guidance,
    sampling: Sampling,
) -> tuple:
    """Fills the unknown tokens of the positions slot + 1 .. stop: (cache, sequence).

    sequence: [B, L, Q], known up to slot, with L > stop. first: the sequence's frame in the whole
    piece, from which draws are numbered. keys: [B], each clip's own; guidance: [B].
    """

    def step(position, carry):
        cache, sequence = carry
        tokens = jax.lax.dynamic_slice_in_dim(sequence, position, 1, 1)
        logits, cache = _step(program, params, program.rows(tokens), cache, position, text)
        logits = _guided(program, logits[:, 0], guidance)
        drawn = draw(logits, step_keys(keys, first + position), sampling)
        known = jax.lax.dynamic_slice_in_dim(sequence, position + 1, 1, 1)
        tokens = jnp.where(known == UNKNOWN, drawn[:, None], known)
        return cache, jax.lax.dynamic_update_slice(sequence, tokens, (0, position + 1, 0))

    return jax.lax.fori_loop(slot, stop, step, (cache, sequence))


def _step(program, params, tokens, cache, slot, text):
    """The language model on rows. text: of `read_texts`."""
    variables, (keys_values, mask) = {"params": params["musicgen_lm"]}, text
    return program.lm.apply(variables, tokens, cache, slot, keys_values, mask, method="step")


def _guided(program, logits, guidance):
    """[R, Q, K] -> [B, Q, K]."""
    if not program.guided:
        return logits
    conditional, unconditional = jnp.split(logits, 2)
    return unconditional + (conditional - unconditional) * guidance[:, None, None]
