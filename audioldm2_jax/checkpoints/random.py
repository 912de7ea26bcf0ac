"""Untrained checkpoints of any preset: real files of the real layout, for the demo and benchmarks.

The weights are random, scaled so that activations keep a healthy size; the tokenizers are real
algorithms trained on a page of captions.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import re
import string
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.hub import Checkpoint, save
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.checkpoints.tokenizer_files import phoneme_tokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import CONVENTIONS, PRESETS, ModelConfig

_CAPTIONS = (
    "a dog barks while birds sing in the distance and a car passes by",
    "rain falls on a tin roof with thunder rolling far away",
    "a calm piano melody with soft strings and a slow beat",
    "a man speaks to a crowd, people clap and cheer loudly",
    "waves crash on the shore and seagulls call overhead",
    "an engine starts, idles and revs; footsteps on gravel",
    "techno music with a strong upbeat tempo and high melodic riffs",
    "a door creaks open, water drips, wind howls through the window",
)


def random_params(name: str, config, seed: int = 0) -> dict:
    """A part's parameters: unit-variance layers, norms near one, small biases."""
    rng = np.random.default_rng([seed, *name.encode()])

    def draw(path, shape):
        kind, values = path.rsplit("/", 1)[-1], rng.standard_normal(shape, np.float32)
        if kind == "scale":
            return 1 + 0.1 * values
        if kind == "variance":
            # The mel's is in dB.
            return (100 if "norm_mel" in path else 1) * (1 + 0.1 * np.abs(values))
        if kind == "kernel" and "upsample_" in path and len(shape) == 3:
            # A transposed convolution's outputs each see about two of its taps.
            return values * (2 * shape[1]) ** -0.5
        if kind == "kernel":
            return values * np.prod(shape[:-1]) ** -0.5
        if kind.startswith("distance_"):
            return values * shape[-1] ** -0.5
        if kind.endswith("logit_scale"):
            return np.float32(np.log(1 / 0.07))
        return values if len(shape) > 1 else 0.1 * values

    shapes = tree.flatten(PARTS[name].shapes(config))
    return tree.unflatten({p: jnp.asarray(draw(p, s.shape)) for p, s in shapes.items()})


def random_checkpoint(config: ModelConfig, seed: int = 0, texts=_CAPTIONS) -> Checkpoint:
    """All parts in memory. Their sound is noise. texts: what the tokenizers are trained on."""
    params = {name: random_params(name, getattr(config, name), seed) for name in parts_of(config)}
    # The vocoder's own scale and mean: identity, as published.
    vocoder = params["vocoder"]
    vocoder |= {"mean": jnp.zeros_like(vocoder["mean"]), "scale": jnp.ones_like(vocoder["scale"])}
    tokenizers = {}
    if config.clap:
        tokenizers["tokenizer"] = _roberta(config, texts)
    if config.t5:
        tokenizers["tokenizer_2"] = _t5(config, texts)
    if config.phonemes:
        tokenizers["tokenizer_2"] = phoneme_tokenizer(config.projection.positions)
    return Checkpoint(config, params, tokenizers, CONVENTIONS["authors"], "random weights")


def write_random(folder, preset: str = "tiny", seed: int = 0, corpus: str = "") -> None:
    """Writes an untrained checkpoint of a preset as a hub-layout folder.

    corpus: a prepared one whose captions the tokenizers are trained on.
    """
    texts = captions(corpus) if corpus else _CAPTIONS
    with jax.default_device(jax.devices("cpu")[0]):
        save(random_checkpoint(PRESETS[preset](), seed, texts), folder)


def captions(corpus: str, count: int = 20_000) -> list[str]:
    """The different captions of a prepared corpus' first `count` training clips, sorted.

    Raises InputError.
    """
    from audioldm2_jax.data.corpus import reader

    source = reader.open_split(corpus, "train")
    found = {c.decode() for i in range(min(count, len(source))) for c in source[i]["captions"]}
    if not found:
        raise InputError(f"{corpus}: its clips have no captions")
    return sorted(found)


def _roberta(config, texts):
    """Byte-level BPE with RoBERTa's special tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    size = config.clap.text.vocab
    bpe.train_from_iterator(texts, vocab_size=size, special_tokens=special, show_progress=False)
    content = _json(bpe)
    return RobertaTokenizerFast(
        vocab=content["model"]["vocab"],
        merges=[tuple(m) for m in content["model"]["merges"]],
        model_max_length=512,
    )


def _t5(config, texts):
    """Unigram pieces with T5's special tokens: the commonest words, and characters for others.

    Trainers of unigram pieces cut a few hundred words into twice as many tokens as words.
    """
    from transformers import T5TokenizerFast

    marked = ("\u2581" + text.replace(" ", "\u2581") for text in texts)
    words = collections.Counter(w for text in marked for w in re.findall(r"\u2581?\w+|\S", text))
    letters = sorted({letter for word in words for letter in word} | set(string.printable.strip()))
    # In words' order of being met, ties would depend on the corpus' order.
    common = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    total = sum(words.values())
    pieces = {letter: -20.0 for letter in letters}
    pieces |= {word: math.log(count / total) for word, count in common}
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab = (special + list(pieces.items()))[: config.t5.vocab]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=128)


def _json(tokenizer) -> dict:
    return json.loads(tokenizer._tokenizer.to_str())


def main():
    """Makes an untrained checkpoint, unless the folder holds one already."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="tiny", choices=PRESETS)
    parser.add_argument("--seed", type=int, default=0)
    text = "a prepared corpus whose captions the tokenizers are trained on"
    parser.add_argument("--captions", default="", metavar="CORPUS", help=text)
    options = parser.parse_args()
    if not (options.folder / "model_index.json").exists():
        write_random(options.folder, options.preset, options.seed, options.captions)
    print(
        f"{options.folder}: an UNTRAINED checkpoint of the {options.preset} preset with random "
        "weights; its sound is noise",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
