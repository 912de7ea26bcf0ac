"""Untrained checkpoints of any preset: real files of the real layout, for the demo and benchmarks.

The weights are random. The tokenizers are real algorithms, trained on a page of captions or on
those of a corpus.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints.hub import Checkpoint, save
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import parts_of
from audioldm2_jax.checkpoints.tokenizer_files import phoneme_tokenizer
from audioldm2_jax.data.corpus.tokenizer_training import corpus_captions, train_bpe, train_unigram
from audioldm2_jax.presets import CONVENTIONS, PRESETS, ModelConfig
from audioldm2_jax.presets.audiolm import AUDIOLM_PRESETS, AudioLMConfig

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


def random_checkpoint(config: ModelConfig, seed: int = 0, texts=_CAPTIONS) -> Checkpoint:
    """Returns a checkpoint with random weights, whose sound is noise.

    texts: captions that the tokenizers are trained on.
    """
    params = {name: random_params(name, getattr(config, name), seed) for name in parts_of(config)}
    return untrained_checkpoint(config, params, texts)


def random_audiolm(config: AudioLMConfig, seed: int = 0) -> Checkpoint:
    """The same of AudioLM, which reads no text."""
    params = {name: random_params(name, getattr(config, name), seed) for name in parts_of(config)}
    return Checkpoint(config, params, {}, CONVENTIONS["authors"], "random weights")


def untrained_checkpoint(config: ModelConfig, params: dict, texts=_CAPTIONS) -> Checkpoint:
    """The checkpoint of random parameters by part; texts: as of `random_checkpoint`."""
    if vocoder := params.get("vocoder"):
        # Its own mean and scale are the identity, as published.
        vocoder |= {"mean": jnp.zeros_like(vocoder["mean"])}
        vocoder |= {"scale": jnp.ones_like(vocoder["scale"])}
    tokenizers = {}
    if config.clap:
        tokenizers["tokenizer"] = train_bpe(texts, config.clap.text.vocab)
    if config.t5:
        tokenizers["tokenizer_2"] = train_unigram(texts, config.t5.vocab)
    if config.phonemes:
        tokenizers["tokenizer_2"] = phoneme_tokenizer(config.projection.positions)
    return Checkpoint(config, params, tokenizers, CONVENTIONS["authors"], "random weights")


def write_random(folder, preset: str = "tiny", seed: int = 0, corpus: str = "") -> None:
    """Writes an untrained checkpoint of a preset as a folder in the hub layout.

    corpus: a prepared corpus; the tokenizers are trained on its captions. Raises InputError for a
    folder that cannot be written, or a corpus without captions.
    """
    texts = corpus_captions(corpus) if corpus else _CAPTIONS
    with jax.default_device(jax.devices("cpu")[0]):
        if preset in AUDIOLM_PRESETS:
            checkpoint = random_audiolm(AUDIOLM_PRESETS[preset](), seed)
        else:
            checkpoint = random_checkpoint(PRESETS[preset](), seed, texts)
        save(checkpoint, folder)


def main():
    """Writes an untrained checkpoint, unless the folder holds one already."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="tiny", choices=[*PRESETS, *AUDIOLM_PRESETS])
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
