"""Prompts to token arrays of few distinct lengths, so that few programs are compiled."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import numpy as np

from audioldm2_jax import phonemes
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import Convention, ModelConfig

# Nearly every prompt has fewer tokens than the first: one program serves them all.
_LENGTHS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Tokens of U unconditional texts followed by P prompts; masks are True = keep.

    clap, clap_mask: [U + P, L1]; text, text_mask: [U + P, L2], T5's tokens or phonemes; positions:
    [U + P], how many text slots GPT-2's positions count; zero_loa: [U], where the LOA is zeros and
    not what GPT-2 says; loa: [P, K, D] in place of what GPT-2 would say. U is 0 without guidance, 1
    if all prompts share it, or P. What a model does not read is None.
    """

    clap: np.ndarray | None
    clap_mask: np.ndarray | None
    text: np.ndarray | None
    text_mask: np.ndarray | None
    positions: np.ndarray | None
    zero_loa: np.ndarray
    loa: np.ndarray | None = None

    def of_prompt(self, index: int) -> Texts:
        """The texts of one prompt: P is 1, U is 1 or 0."""
        first = len(self.zero_loa)
        without = [min(index, first - 1)] * (first > 0)
        rows = {"zero_loa": self.zero_loa[without]}
        for name in ("clap", "clap_mask", "text", "text_mask", "positions"):
            array = getattr(self, name)
            rows[name] = None if array is None else array[[*without, first + index]]
        return Texts(**rows, loa=None if self.loa is None else self.loa[index : index + 1])


jax.tree_util.register_dataclass(Texts, [f.name for f in dataclasses.fields(Texts)], [])


def encode(
    prompts: list[str],
    negatives: list[str],
    transcriptions: list[str],
    tokenizers: dict,
    config: ModelConfig,
    convention: Convention,
) -> Texts:
    """Tokenises for CLAP and T5 (or phonemes). `negatives` has U entries (see Texts)."""
    clap = clap_mask = text = text_mask = positions = None
    if config.clap:
        clap, clap_mask = for_clap(negatives + prompts, tokenizers, config)
    if config.phonemes:
        spoken = _phonemes(transcriptions, tokenizers["tokenizer_2"], config, convention)
        # Unconditionally nothing is said: the encoder's states are zeros where nothing is kept.
        rows, length = [[]] * len(negatives) + spoken, config.projection.positions
        text, text_mask = _pad(rows, 0, (length,))
        positions = np.full(len(rows), length, np.int32)
    elif config.t5:
        rows, positions = _t5(prompts, negatives, tokenizers["tokenizer_2"], config, convention)
        text, text_mask = _pad(rows, 0)
    zero_loa = np.array([convention.zero_loa and not text for text in negatives], bool)
    return Texts(clap, clap_mask, text, text_mask, positions, zero_loa)


def for_clap(texts: list[str], tokenizers: dict, config: ModelConfig):
    """CLAP's tokens and mask, [B, L] each."""
    roberta = tokenizers["tokenizer"]
    limit = min(roberta.model_max_length, config.clap.text.positions - 2)
    return _pad(_ids(roberta, texts, limit), config.clap.text.pad_id)


def blank(config: ModelConfig, negatives: int, prompts: int) -> Texts:
    """Texts of ordinary length, to compile for."""
    rows = negatives + prompts

    def tokens(length):
        return np.zeros((rows, length), np.int32), np.ones((rows, length), bool)

    clap = tokens(_LENGTHS[0]) if config.clap else (None, None)
    text = (None, None)
    if config.phonemes:
        text = tokens(config.projection.positions)
    elif config.t5:
        text = tokens(_LENGTHS[0])
    positions = None if text[0] is None else np.zeros(rows, np.int32)
    return Texts(*clap, *text, positions, np.ones(negatives, bool))


def _t5(prompts, negatives, tokenizer, config, convention):
    """Tokens of all texts, and how many slots of each GPT-2's positions count."""
    limit = tokenizer.model_max_length
    if config.gpt2:
        limit = min(limit, config.gpt2.positions - 5 - config.gpt2.tokens)
    positive = _ids(tokenizer, prompts, limit)
    longest = max(len(ids) for ids in positive)
    if convention.cut_negative:
        negative = _ids(tokenizer, negatives, longest, warn=False)
    else:
        negative = _ids(tokenizer, negatives, limit)
    rows = negative + positive
    lengths = [len(ids) for ids in rows] if convention.own_positions else [longest] * len(rows)
    return rows, np.array(lengths, np.int32)


def _phonemes(transcriptions, tokenizer, config, convention):
    """Numbers of each transcription's phonemes and the stop symbol.

    Raises InputError if the folder's tokenizer numbers beyond the embedding.
    """
    length, vocab = config.projection.positions, config.phonemes.vocab
    # A tokenizer that knows the stop symbol is the training's own, or one made from it.
    known = tokenizer.get_vocab().get(phonemes.SYMBOLS[-1]) == phonemes.STOP
    if known or (convention.own_symbols and vocab == len(phonemes.SYMBOLS)):
        return [phonemes.to_ids(phonemes.phonemize(text), length) for text in transcriptions]
    if tokenizer.phonemize:
        phonemes.require_espeak()
    numbers = tokenizer(transcriptions).input_ids
    for text, ids in zip(transcriptions, numbers):
        if len(ids) > length:
            warnings.warn(
                f"only the first {length} of {len(ids)} phonemes of {text[:40]!r}... are spoken; "
                "split the text",
                stacklevel=3,
            )
    rows = [ids[:length] + [phonemes.STOP] * (len(ids) < length) for ids in numbers]
    for text, row in zip(transcriptions, rows):
        if row[0] == phonemes.STOP:
            raise phonemes.NothingToSay(f"transcription {text[:40]!r}: nothing in it is spoken")
    # diffusers writes the stop symbol over the first zero, wherever it is.
    rows = [
        [phonemes.STOP if i == row.index(0) else n for i, n in enumerate(row)] if 0 in row else row
        for row in rows
    ]
    if (highest := max(max(row) for row in rows)) >= vocab:
        raise InputError(
            f"tokenizer_2 numbers a symbol {highest}, but text_encoder_2 embeds {vocab}: the "
            "checkpoint's tokenizer and weights do not belong together"
        )
    return rows


def _ids(tokenizer, texts, limit, warn=True):
    """Rows of at most `limit` tokens; warn: a text that is cut is told."""
    if not texts:
        return []
    rows = tokenizer(texts, truncation=True, max_length=limit).input_ids
    if warn:
        for text, row in zip(texts, rows):
            if len(row) == limit and len(tokenizer(text).input_ids) > limit:
                warnings.warn(
                    f"only the first {limit} tokens of {text[:40]!r}... are used", stacklevel=4
                )
    return rows


def _pad(rows, pad_id, lengths=_LENGTHS):
    """Ragged rows to [B, L] with L the next of a few lengths, and their mask."""
    longest = max(len(row) for row in rows)
    length = next((n for n in lengths if n >= longest), longest)
    tokens = np.full((len(rows), length), pad_id, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], mask[i, : len(row)] = row, True
    return tokens, mask
