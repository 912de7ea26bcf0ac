"""Texts as token arrays of one length, for batches of one shape."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """One way to number a clip's text.

    encode: text -> numbers, at most `length`; pad: fills the rest; spoken: numbers the transcript,
    not the caption.
    """

    encode: Callable[[str], list[int]]
    length: int
    pad: int = 0
    spoken: bool = False

    def __call__(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(tokens [length] int32, mask [length], True = keep)."""
        found = self.encode(text)[: self.length]
        tokens, mask = np.full(self.length, self.pad, np.int32), np.zeros(self.length, bool)
        tokens[: len(found)], mask[: len(found)] = found, True
        return tokens, mask


def of_tokenizer(tokenizer: Any, length: int) -> Tokens:
    """By a tokenizer of transformers, as `checkpoints.hub.read_tokenizer` returns it."""
    pad = tokenizer.pad_token_id or 0
    if tokenizer.is_fast:
        # Without transformers' wrapping, which takes longer than the work.
        backend = copy.deepcopy(tokenizer.backend_tokenizer)
        backend.enable_truncation(length)
        backend.no_padding()
        return Tokens(functools.partial(_encoded, backend), length, pad)
    return Tokens(functools.partial(_tokenised, tokenizer, length), length, pad)


def of_phonemes(length: int) -> Tokens:
    """Phonemes of the transcript, as AudioLDM 2's speech models number them."""
    return Tokens(functools.partial(_spoken, length), length, spoken=True)


def _encoded(backend, text):
    return backend.encode(text).ids


def _tokenised(tokenizer, length, text):
    return tokenizer(text, truncation=True, max_length=length).input_ids


def _spoken(length, text):
    from audioldm2_jax import phonemes

    return phonemes.to_ids(phonemes.phonemize(text), length) if text else []
