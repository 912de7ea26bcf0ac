"""Texts to token arrays of a fixed length."""

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
    """Turns a clip's caption or transcript into tokens.

    encode: text -> token ids; it raises Unreadable for a text without tokens. length: of the
    arrays. pad: id that fills the rest. spoken: reads the transcript, not the caption.
    """

    encode: Callable[[str], list[int]]
    length: int
    pad: int = 0
    spoken: bool = False

    def __call__(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns (tokens [length] int32, mask [length] bool, True = keep). Raises Unreadable."""
        ids = self.encode(text)[: self.length]
        tokens, mask = np.full(self.length, self.pad, np.int32), np.zeros(self.length, bool)
        tokens[: len(ids)], mask[: len(ids)] = ids, True
        return tokens, mask


def from_tokenizer(tokenizer: Any, length: int) -> TextTokeniser:
    """Tokens of a transformers tokenizer, such as `Checkpoint.tokenizers` holds."""
    pad = tokenizer.pad_token_id or 0
    if tokenizer.is_fast:
        # The backend alone: transformers' wrapper takes longer than the work.
        backend = copy.deepcopy(tokenizer.backend_tokenizer)
        backend.enable_truncation(length)
        backend.no_padding()
        return TextTokeniser(functools.partial(_encode_fast, backend), length, pad)
    return TextTokeniser(functools.partial(_encode_slow, tokenizer, length), length, pad)


def from_phonemes(length: int) -> TextTokeniser:
    """Phonemes of the transcript, with the ids of AudioLDM 2's speech models."""
    return TextTokeniser(functools.partial(_encode_phonemes, length), length, spoken=True)


def _encode_fast(backend, text):
    return backend.encode(text).ids


def _encode_slow(tokenizer, length, text):
    return tokenizer(text, truncation=True, max_length=length).input_ids


def _encode_phonemes(length, text):
    from audioldm2_jax import phonemes

    if not text.strip():
        return []
    phonemes.require_espeak()
    try:
        ids = phonemes.to_ids(phonemes.phonemize(text), length)
    except (InputError, LookupError, ValueError) as error:
        raise Unreadable(f"its transcript {text[:40]!r} cannot be said ({error})") from None
    if not ids:
        raise Unreadable(f"its transcript {text[:40]!r} has nothing to say")
    return ids
