"""Texts as token arrays of one length, for batches of one shape."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class TextTokeniser:
    """One way to number a clip's text.

    encode: text -> numbers, at most `length`, or Unreadable for a text that has none; pad: fills
    the rest; spoken: numbers the transcript, not the caption.
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


def from_tokenizer(tokenizer: Any, length: int) -> TextTokeniser:
    """By a tokenizer of transformers, as `checkpoints.hub.read_tokenizer` returns it."""
    pad = tokenizer.pad_token_id or 0
    if tokenizer.is_fast:
        # Without transformers' wrapping, which takes longer than the work.
        backend = copy.deepcopy(tokenizer.backend_tokenizer)
        backend.enable_truncation(length)
        backend.no_padding()
        return TextTokeniser(functools.partial(_encoded, backend), length, pad)
    return TextTokeniser(functools.partial(_tokenised, tokenizer, length), length, pad)


def from_phonemes(length: int) -> TextTokeniser:
    """Phonemes of the transcript, as AudioLDM 2's speech models number them."""
    return TextTokeniser(functools.partial(_spoken, length), length, spoken=True)


def _encoded(backend, text):
    return backend.encode(text).ids


def _tokenised(tokenizer, length, text):
    return tokenizer(text, truncation=True, max_length=length).input_ids


def _spoken(length, text):
    from audioldm2_jax import phonemes

    if not text.strip():
        return []
    phonemes.require_espeak()
    try:
        found = phonemes.to_ids(phonemes.phonemize(text), length)
    except (InputError, LookupError, ValueError) as error:
        raise Unreadable(f"its transcript {text[:40]!r} cannot be said ({error})") from None
    if not found:
        raise Unreadable(f"its transcript {text[:40]!r} has nothing to say")
    return found
