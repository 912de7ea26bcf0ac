"""The parts that checkpoints are made of, one file for each.

A new part is a file here, ended by its `PART` (or several), and a line in `PARTS`.
"""

from __future__ import annotations

from typing import Any

from audioldm2_jax.checkpoints.parts import (
    audiomae,
    clap,
    dac,
    encodec,
    gpt2,
    hubert,
    kmeans,
    mimi,
    musicgen_lm,
    musicnn,
    panns,
    phonemes,
    projection,
    soundstream,
    t5,
    token_lm,
    unet,
    vae,
    vggish,
    vocoder,
    w2v_bert,
)
from audioldm2_jax.checkpoints.parts.base import Part, PartFiles  # noqa: F401

# {name: part}. A config.json is of the first part that describes it; those with a mark of their
# own precede AudioMAE.
PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        clap.PART,
        t5.PART,
        phonemes.PART,
        projection.PART,
        gpt2.PART,
        unet.PART,
        vae.PART,
        vocoder.PART,
        panns.PART,
        vggish.PART,
        musicnn.PART,
        soundstream.PART,
        encodec.PART,
        musicgen_lm.PART,
        dac.PART,
        mimi.PART,
        hubert.PART,
        w2v_bert.PART,
        kmeans.PART,
        token_lm.SEMANTIC,
        token_lm.COARSE,
        token_lm.FINE,
        audiomae.PART,
    )
}


def parts_of(config: Any) -> list[str]:
    """Names of the parts that a model's configuration has."""
    return [name for name in PARTS if getattr(config, name, None) is not None]
