"""Trains tokenizers of the kinds that RoBERTa and T5 use, on captions."""

from __future__ import annotations

import collections
import json
import math
import re
import string
from collections.abc import Iterable, Sequence

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.errors import InputError


def corpus_captions(corpus, count: int = 20_000) -> list[str]:
    """Returns the distinct captions of a corpus' first `count` training clips, sorted.

    Raises InputError for a folder that is no prepared corpus, or one without captions.
    """
    source = reader.open_split(corpus, "train")
    captions = {c.decode() for i in range(min(count, len(source))) for c in source[i]["captions"]}
    if not captions:
        raise InputError(f"{corpus}: its clips have no captions")
    return sorted(captions)


def train_bpe(texts: Iterable[str], vocab_size: int):
    """Trains byte-level BPE with RoBERTa's special tokens: a RobertaTokenizerFast."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size=vocab_size, special_tokens=special, show_progress=False
    )
    model = json.loads(bpe._tokenizer.to_str())["model"]
    return RobertaTokenizerFast(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        model_max_length=512,
    )


def train_unigram(texts: Sequence[str], vocab_size: int):
    """Makes a T5TokenizerFast of the most frequent words, and of characters for the others.

    Trainers of unigram models split a few hundred words into twice as many tokens as words.
    """
    from transformers import T5TokenizerFast

    marked = ("\u2581" + text.replace(" ", "\u2581") for text in texts)
    words = collections.Counter(w for text in marked for w in re.findall(r"\u2581?\w+|\S", text))
    letters = sorted({letter for word in words for letter in word} | set(string.printable.strip()))
    # A stable order: ties must not depend on the order of the corpus.
    by_frequency = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    total = sum(words.values())
    pieces = dict.fromkeys(letters, -20.0)
    pieces |= {word: math.log(count / total) for word, count in by_frequency}
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab = (special + list(pieces.items()))[:vocab_size]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=128)
