"""Warns of words in a request that the model does not know."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable

from audioldm2_jax.errors import InputError, printable
from audioldm2_jax.pipelines.request import VOICE
from audioldm2_jax.presets import ModelConfig

_SHOWN = 12
_NOTE = re.compile(r"[A-G]#?[0-8]")


def bundled_words(tokenizers: dict, config: ModelConfig) -> frozenset[str]:
    """Words of the captions that a bundled model was trained on (docs/soundscapes.md).

    Of a model of sound the names of the sounds, and what T5's tokenizer holds as one piece.
    """
    if not config.t5:
        from audioldm2_jax.data.soundscapes.voices import caption_words

        return frozenset(form for word in caption_words() for form in (word, word.capitalize()))
    from audioldm2_jax.data.soundscapes.scene import SOUND_CLASSES

    nouns = {
        word for sound in SOUND_CLASSES.values() for word in _words(f"{sound.noun} {sound.plural}")
    }
    pieces = tokenizers["tokenizer_2"].get_vocab()
    # Single letters stand for words that are none of the captions'.
    return frozenset(nouns | {"a", "A"} | {p.lstrip("\u2581") for p in pieces if len(p) > 2})


def check_words(
    prompts: list[str],
    negatives: list[str],
    tokenizers: dict,
    config: ModelConfig,
    *,
    model: str = "",
    words: frozenset[str] | None = None,
) -> None:
    """Warns of unknown words, once for a request.

    words: all that `model` knows, for an embedded model. Raises InputError for a prompt of which
    the tokenizer knows nothing.
    """
    unread = _unread(tokenizers.get("tokenizer_2")) if config.t5 else lambda word: False
    for i, prompt in enumerate(prompts):
        if all(map(unread, prompt.split())):
            raise InputError(
                f"prompt {i + 1} of {len(prompts)}: the model's tokenizer knows none of its words "
                f"({prompt[:40]}); describe the sound in English"
            )
    texts = [text for text in (*prompts, *negatives) if text != VOICE]
    if words:
        unknown = _outside(texts, words)
        known = "the sounds of `soundscapes --classes`, by their names in docs/soundscapes.md"
        known = f"{model} knows {known if config.t5 else 'voices as: a woman speaks slowly'}"
    else:
        every = dict.fromkeys(word for text in texts for word in text.split())
        unknown = [word for word in every if unread(word) or _foreign(word)]
        known = "the model reads English"
    if unknown:
        warnings.warn(f"unknown words: {_listed(unknown)}; {known}", stacklevel=3)


def _unread(tokenizer) -> Callable[[str], bool]:
    """A function that tells whether the tokenizer replaces a word by its unknown token."""
    unk_id = getattr(tokenizer, "unk_token_id", None)
    if unk_id is None:
        return lambda word: False
    return lambda word: unk_id in tokenizer(word).input_ids


def _foreign(word: str) -> bool:
    """Whether a word has letters of a script other than Latin, which the captions are in."""
    letters = [c for c in word if c.isalpha()]
    return any(not unicodedata.name(c, "").startswith(("LATIN", "MODIFIER")) for c in letters)


def _words(text: str) -> list[str]:
    """Splits a text into words without punctuation; leaves out notes such as F#4."""
    return [word for word in re.split(r"[^\w#']+|_", text) if word and not _NOTE.fullmatch(word)]


def _outside(texts: Iterable[str], words: frozenset[str]) -> list[str]:
    """The words that are not in `words`, each with a known spelling if there is one."""
    unknown = {}
    for word in (word for text in texts for word in _words(text) + _signs(text)):
        if word not in words:
            known = next((form for form in (word.lower(), word.capitalize()) if form in words), "")
            unknown[word] = f"{word} (known as {known})" if known else word
    return list(unknown.values())


def _signs(text: str) -> list[str]:
    """Symbols without letters or digits, such as an emoji; not common punctuation."""
    return [word for word in text.split() if not word.isascii() and not _words(word)]


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return printable(", ".join(word[:40] for word in words[:_SHOWN])) + more
