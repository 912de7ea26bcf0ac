"""Tokenises texts to arrays of few distinct lengths, so that few programs are compiled."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import jax
import numpy as np

from audioldm2_jax import phonemes
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.request import ClipRequest
from audioldm2_jax.pipelines.values import check_clap_features, check_loa
from audioldm2_jax.presets import Convention, ModelConfig

# Nearly every prompt has fewer tokens than the first: one program serves them all.
_LENGTHS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Tokens of the texts of B clips; masks are True = keep.

    guided: there are R = 2 B rows, each clip's negative text before its prompt; else R = B prompts.
    clap, clap_mask: [R, L1]; text, text_mask: [R, L2], T5's tokens or phonemes; positions: [R], how
    many text slots GPT-2's positions count; zero_loa: [R], where the LOA is zeros and not GPT-2's;
    loa: [B, K, D] in place of what GPT-2 makes of the prompts; clap_features: [B, D] in place of
    CLAP's of the prompts. What a model does not read is None.
    """

    clap: np.ndarray | None
    clap_mask: np.ndarray | None
    text: np.ndarray | None
    text_mask: np.ndarray | None
    positions: np.ndarray | None
    zero_loa: np.ndarray
    loa: np.ndarray | None = None
    clap_features: np.ndarray | None = None
    guided: bool = False

    def take(self, clips) -> Texts:
        """The texts of the clips of these numbers, in their order."""
        clips = np.asarray(clips)
        rows = np.stack([2 * clips, 2 * clips + 1], 1).reshape(-1) if self.guided else clips
        arrays = {name: getattr(self, name) for name in _ROWS}
        selected = {name: None if x is None else x[rows] for name, x in arrays.items()}
        for name in _CLIPS:
            values = getattr(self, name)
            selected[name] = None if values is None else values[clips]
        return Texts(**selected, guided=self.guided)


_ROWS = ("clap", "clap_mask", "text", "text_mask", "positions", "zero_loa")
_CLIPS = ("loa", "clap_features")
jax.tree_util.register_dataclass(Texts, [*_ROWS, *_CLIPS], ["guided"])


def inject(texts: Texts, config: ModelConfig, *, loa, clap_features) -> Texts:
    """The texts with a user's LOA [B, K, D] and CLAP features [B, D] in place of the prompts' own.

    None leaves the prompts' own. Raises InputError for arrays that do not fit the model.
    """
    clips = len(texts.zero_loa) // (1 + texts.guided)
    if loa is not None:
        texts = dataclasses.replace(texts, loa=check_loa(loa, config, clips))
    if clap_features is not None:
        features = check_clap_features(clap_features, config, clips)
        texts = dataclasses.replace(texts, clap_features=features)
    return texts


def tokenise(
    requests: Sequence[ClipRequest],
    tokenizers: dict,
    config: ModelConfig,
    convention: Convention,
    *,
    together: bool = False,
) -> Texts:
    """The texts of clips; they are guided if one of them is.

    together: under convention "diffusers", negatives are cut to the longest prompt of all, as
    diffusers does in a batch; else to the clip's own.
    """
    guided = any(request.guided for request in requests)
    negatives = [request.negative_prompt or "" for request in requests] if guided else []
    prompts = [request.prompt for request in requests]
    clap = clap_mask = text = text_mask = positions = None
    if config.clap and not config.t5:
        clap, clap_mask = for_clap(_pairs(negatives, prompts), tokenizers, config)
    if config.phonemes:
        transcriptions = [request.transcription for request in requests]
        phoneme_ids = _phonemes(transcriptions, tokenizers["tokenizer_2"], config, convention)
        # Unconditionally nothing is said: the encoder's states are zeros where nothing is kept.
        rows, length = _pairs([[]] * len(negatives), phoneme_ids), config.projection.positions
        text, text_mask = _pad(rows, 0, (length,))
        positions = np.full(len(rows), length, np.int32)
    elif config.t5:
        rows, positions = _t5(
            prompts, negatives, tokenizers["tokenizer_2"], config, convention, together
        )
        # One length of both, so that few pairs of lengths are compiled.
        lengths = tuple(n for n in _LENGTHS if n >= max(map(len, rows)))
        if config.clap:
            clap, clap_mask = for_clap(_pairs(negatives, prompts), tokenizers, config, lengths)
            limit = _t5_limit(tokenizers["tokenizer_2"], config)
            lengths = tuple(min(n, limit) for n in lengths if n >= clap.shape[1])
        text, text_mask = _pad(rows, 0, lengths)
    silent = [convention.zero_loa and not negative for negative in negatives]
    zero_loa = np.array(_pairs(silent, [False] * len(prompts)), bool)
    return Texts(clap, clap_mask, text, text_mask, positions, zero_loa, guided=guided)


def _pairs(negatives: list, prompts: list) -> list:
    """Each clip's negative before its prompt; the prompts alone where there are no negatives."""
    return [x for pair in zip(negatives, prompts) for x in pair] if negatives else prompts


def for_clap(texts: list[str], tokenizers: dict, config: ModelConfig, lengths=_LENGTHS):
    """CLAP's tokens and mask, [B, L] each, L one of the lengths if one is enough."""
    roberta = tokenizers["tokenizer"]
    limit = min(roberta.model_max_length, config.clap.text.positions - 2)
    return _pad(_ids(roberta, texts, limit), config.clap.text.pad_id, lengths)


def for_t5(texts: list[str], tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """T5's tokens and mask, [B, L] each, L of few lengths."""
    return _pad(_ids(tokenizer, texts, tokenizer.model_max_length), 0)


def blank(config: ModelConfig, clips: int, *, guided: bool) -> Texts:
    """Texts of ordinary length, to compile for."""
    rows = 2 * clips if guided else clips

    def tokens(length):
        return np.zeros((rows, length), np.int32), np.ones((rows, length), bool)

    clap = clap_mask = text = text_mask = positions = None
    if config.clap:
        clap, clap_mask = tokens(_LENGTHS[0])
    if config.phonemes:
        text, text_mask = tokens(config.projection.positions)
    elif config.t5:
        text, text_mask = tokens(_LENGTHS[0])
    if text is not None:
        positions = np.zeros(rows, np.int32)
    zero_loa = np.ones(rows, bool)
    return Texts(clap, clap_mask, text, text_mask, positions, zero_loa, guided=guided)


def _t5(prompts, negatives, tokenizer, config, convention, together):
    """Tokens of all rows, and how many slots of each GPT-2's positions count."""
    limit = _t5_limit(tokenizer, config)
    positive = _ids(tokenizer, prompts, limit)
    lengths = [len(ids) for ids in positive]
    if together:
        lengths = [max(lengths)] * len(lengths)
    if convention.cut_negative:
        cut = zip(negatives, lengths)
        negative = [_ids(tokenizer, [text], length, warn=False)[0] for text, length in cut]
    else:
        negative = _ids(tokenizer, negatives, limit)
    rows = _pairs(negative, positive)
    if convention.own_positions:
        return rows, np.array([len(ids) for ids in rows], np.int32)
    return rows, np.array(_pairs(lengths if negatives else [], lengths), np.int32)


def _t5_limit(tokenizer, config) -> int:
    """How many tokens of a text are read."""
    if config.gpt2 is None:
        return tokenizer.model_max_length
    # GPT-2's sequence holds them, five vectors around them, and the LOA.
    return min(tokenizer.model_max_length, config.gpt2.positions - 5 - config.gpt2.tokens)


def _phonemes(transcriptions, tokenizer, config, convention):
    """Phoneme ids of each transcription, with the stop symbol.

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
    """Rows of at most `limit` tokens. warn: warns of each text that is cut."""
    if not texts:
        return []
    unique = list(dict.fromkeys(texts))
    rows = dict(zip(unique, tokenizer(unique, truncation=True, max_length=limit).input_ids))
    if warn:
        for text, row in rows.items():
            if len(row) == limit and len(tokenizer(text).input_ids) > limit:
                warnings.warn(
                    f"only the first {limit} tokens of {text[:40]!r}... are used", stacklevel=4
                )
    return [rows[text] for text in texts]


def _pad(rows, pad_id, lengths=_LENGTHS):
    """Pads rows to [B, L], L the next of a few lengths; returns them and their mask."""
    longest = max(len(row) for row in rows)
    length = next((n for n in lengths if n >= longest), longest)
    tokens = np.full((len(rows), length), pad_id, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], mask[i, : len(row)] = row, True
    return tokens, mask
