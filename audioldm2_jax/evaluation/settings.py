"""What decides an evaluation's figures besides protocol and weights: clips, texts, seeds.

They are part of the hash, and `differing_settings` names each one in which two results differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from audioldm2_jax.evaluation.clips import ClipSet
from audioldm2_jax.evaluation.protocol import word

# What a manifest says of the model, of the machine and of single clips.
_MODEL = ("model", "weights", "convention", "sample_rate", "samples")
_RUN = ("device", "versions", "failed", "clips")


def generation_settings(manifest: Mapping | None) -> dict | None:
    """How clips were generated, without the model and what is said of single clips."""
    if manifest is None:
        return None
    return {key: value for key, value in manifest.items() if key not in (*_MODEL, *_RUN)}


def without_clips(manifest: Mapping | None) -> dict | None:
    """How clips were generated, the model included, without what is said of single clips."""
    if manifest is None:
        return None
    return {key: value for key, value in manifest.items() if key not in ("clips", "failed")}


def evaluation_settings(
    generated: ClipSet,
    reference: ClipSet,
    texts: Iterable[tuple[str, str]] | None,
    manifest: Mapping | None,
    seed: int,
) -> dict:
    """Settings as JSON can hold them.

    texts: (caption, transcript) of each generated clip, None where no figure depends on them.
    manifest: of generated clips. seed: of FAD-infinity's draws.
    """
    return {
        "generated clips": len(generated.usable),
        "reference clips": len(reference.usable),
        "reference": reference.digest(),
        "texts": None if texts is None else _digest(texts),
        "generation": generation_settings(manifest),
        "seed": seed,
    }


def _digest(texts: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of texts in any order, in hex."""
    return hashlib.sha256(json.dumps(sorted(texts)).encode()).hexdigest()


# Setting -> what a line calls it. The generated clips are counted by figure.
_NAMES = {
    "reference clips": "reference clips",
    "reference": "sounds of the reference",
    "texts": "captions and transcripts",
    "seed": "seed of FAD_inf",
}


def differing_settings(a: Mapping, b: Mapping) -> Iterator[str]:
    """A line for each setting in which two results differ; settings that one lacks are left out."""
    for key, name in _NAMES.items():
        values = a.get(key), b.get(key)
        if None not in values and values[0] != values[1]:
            yield f"{name}: {_short(values[0])} and {_short(values[1])}"
    ours, theirs = a.get("generation"), b.get("generation")
    if ours and theirs:
        for key in dict.fromkeys((*ours, *theirs)):
            if ours.get(key) != theirs.get(key):
                yield f"generation, {key}: {word(ours.get(key))} and {word(theirs.get(key))}"
    elif ours or theirs:
        yield f"generation: settings are known of {'the first' if ours else 'the second'} only"


def _short(value) -> str:
    return value[:12] if isinstance(value, str) else str(value)
