"""Prompts to token arrays of few distinct lengths, so that few programs are compiled."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import numpy as np

from audioldm2_jax.presets import AudioLDM2Config, Convention

_LENGTHS = (16, 32, 64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Tokens of U unconditional texts followed by P prompts; masks are True = keep.

    clap, clap_mask: [U + P, L1]; t5, t5_mask: [U + P, L2]; positions: [U + P], how many text slots
    GPT-2's positions count. U is 0 without guidance, 1 if all prompts share it, or P.
    """

    clap: np.ndarray
    clap_mask: np.ndarray
    t5: np.ndarray
    t5_mask: np.ndarray
    positions: np.ndarray


jax.tree_util.register_dataclass(Texts, [f.name for f in dataclasses.fields(Texts)], [])


def encode(
    prompts: list[str],
    negatives: list[str],
    tokenizers: dict,
    config: AudioLDM2Config,
    convention: Convention,
) -> Texts:
    """Tokenises for CLAP and T5. `negatives` has U entries (see Texts)."""
    roberta, t5 = tokenizers["tokenizer"], tokenizers["tokenizer_2"]
    clap_limit = min(roberta.model_max_length, config.clap.text.positions - 2)
    t5_limit = min(t5.model_max_length, config.gpt2.positions - 5 - config.gpt2.tokens)
    clap = _ids(roberta, negatives + prompts, clap_limit)
    positive = _ids(t5, prompts, t5_limit, warn=True)
    longest = max(len(ids) for ids in positive)
    negative = _ids(t5, negatives, longest if convention.cut_negative else t5_limit)
    rows = negative + positive
    lengths = [len(ids) for ids in rows] if convention.own_positions else [longest] * len(rows)
    clap_tokens, clap_mask = _pad(clap, config.clap.text.pad_id)
    t5_tokens, t5_mask = _pad(rows, 0)
    return Texts(clap_tokens, clap_mask, t5_tokens, t5_mask, np.array(lengths, np.int32))


def _ids(tokenizer, texts, limit, warn=False):
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


def _pad(rows, pad_id):
    """Ragged rows to [B, L] with L the next of a few lengths, and their mask."""
    longest = max(len(row) for row in rows)
    length = next((n for n in _LENGTHS if n >= longest), longest)
    tokens = np.full((len(rows), length), pad_id, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], mask[i, : len(row)] = row, True
    return tokens, mask
