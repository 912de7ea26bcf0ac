"""Scores of clips by judges, each clip's kept by content, so that a stopped run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from audioldm2_jax import distributed, files
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.clips import Clip, ClipSet
from audioldm2_jax.evaluation.judges import Judge, Scores
from audioldm2_jax.evaluation.rules import LoaderRules
from audioldm2_jax.log import Counter

RULES = LoaderRules("mean", False, resampler="soxr_hq")


def judge_clips(
    judge: Judge,
    generated: ClipSet,
    reference: ClipSet,
    pairs: Mapping[str, Clip],
    *,
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Scores]:
    """{metric: scores in the order of the generated clips}; NaN for those that are not judged.

    pairs: {name of a generated clip: its reference clip}, of which a transcript is taken where the
    generated clip has none. A clip that cannot be read has no score. Host i of n judges the clips
    i, i + n, ...; every host has the scores of all.
    """
    sha256 = judge.sha256() if cache is not None else ""
    share = generated.clips[jax.process_index() :: jax.process_count()]
    counter, own = Counter(judge.name, len(share), visible=progress), []
    for clip in share:
        pair = pairs.get(clip.name)
        own.append(_scored(judge, sha256, clip, generated, reference, pair, cache))
        counter.add()
    shares = [json.loads(content) for content in distributed.gather_bytes(json.dumps(own).encode())]
    rows = [shares[i % len(shares)][i // len(shares)] for i in range(len(generated.clips))]
    nothing = (float("nan"), 0.0)
    return {
        metric: Scores(*np.array([row.get(metric, nothing) for row in rows], np.float64).T)
        for metric in judge.metrics
    }


def _scored(
    judge, sha256, clip, generated, reference, pair, cache
) -> dict[str, tuple[float, float]]:
    """{metric: (value, weight)} of one clip, from the cache where it is there.

    sha256: of the judge's network, which the cache's key holds.
    """
    paired = judge.needs == "pairs"
    transcript = clip.transcript or (pair.transcript if pair else "")
    if (paired and pair is None) or (judge.needs == "transcript" and not transcript):
        return {}
    try:
        parts = [sha256, generated.content_hash(clip), transcript]
        parts += [reference.content_hash(pair)] if paired else []
        path = _cached(cache, judge.name, parts)
        if path is not None and (row := _read(path, judge)) is not None:
            return row
        spoken = dataclasses.replace(clip, transcript=transcript)
        rate = judge.rate  # so that the clip is resampled once
        sound = (clip.name, generated.read(clip, RULES, rate), rate, spoken)
        other = [(pair.name, reference.read(pair, RULES, rate), rate, pair)] if paired else None
    except Unreadable:
        return {}
    scores = judge.run([sound], other)
    row = {name: (float(s.values[0]), float(s.weights[0])) for name, s in scores.items()}
    if path is not None:
        _write(path, row)
    return row


def _cached(cache: Path | None, judge: str, parts: Sequence[str]) -> Path | None:
    if cache is None:
        return None
    key = hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
    return cache / "judges" / judge / f"{key}.json"


def _read(path: Path, judge: Judge) -> dict[str, tuple[float, float]] | None:
    """A clip's scores, one of each metric; None where they are not there or damaged."""
    with contextlib.suppress(InputError, TypeError, ValueError, AttributeError):
        row = {name: _pair(value) for name, value in files.read_json(path).items()}
        return row if row.keys() == set(judge.metrics) else None
    return None


def _write(path: Path, row: Mapping[str, tuple[float, float]]) -> None:
    files.make_folder(path.parent)
    try:
        files.write_json(path, {n: [None if math.isnan(v) else v, w] for n, (v, w) in row.items()})
    except InputError:
        if not path.is_file():  # else another host has just written an equal clip's scores
            raise


def _pair(value) -> tuple[float, float]:
    score, weight = value
    return float("nan") if score is None else float(score), float(weight)
