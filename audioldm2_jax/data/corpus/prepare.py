"""Prepares a corpus from clip records: in parallel, with progress, resumable after a stop."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.examples import audio_examples, audio_features
from audioldm2_jax.data.corpus.parallel import parallel_map
from audioldm2_jax.data.corpus.writer import CorpusWriter, Shard, shard_size
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.report import Report


def prepare(
    splits: Mapping[str, list[ClipRecord]],
    target,
    *,
    metadata: Mapping,
    report: Report,
    sample_rate: int | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Writes a corpus as a TFDS folder of ArrayRecord; returns its statistics.

    splits: clips by split. metadata: `name` and other values (see `CorpusWriter.finish`). report:
    holds what was skipped so far, and receives the rest. sample_rate: Hz of the FLAC files that are
    stored; None keeps files as they are. progress: called with the number of clips after each
    shard. Raises InputError for a target that holds something else, and if no clip can be used.
    """
    target = Path(target)
    settings = {"name": metadata["name"], "sample_rate": sample_rate, "plan": _fingerprint(splits)}
    writer = CorpusWriter(target, settings)
    if writer.finished:
        return reader.read_statistics(target)
    jobs, summaries = [], {}
    for split, clips in splits.items():
        size = shard_size(len(clips))
        for number, start in enumerate(range(0, len(clips), size)):
            shard, group = Shard(split, number), clips[start : start + size]
            if summary := writer.read_summary(shard):
                summaries[shard] = summary
                _advance(progress, len(group))
            else:
                jobs.append((shard, group))
    write = functools.partial(_write_shard, target, settings, sample_rate)
    for (shard, group), summary in zip(jobs, parallel_map(write, jobs, workers)):
        summaries[shard] = summary
        _advance(progress, len(group))
    return writer.finish(summaries, audio_features(), report=report, metadata=metadata)


def _advance(progress, count):
    if progress:
        progress(count)


def _fingerprint(splits: Mapping[str, list[ClipRecord]]) -> str:
    """A digest of the list of clips; a stopped preparation resumes only with the same one."""
    digest = hashlib.sha256()
    for split, clips in splits.items():
        for clip in clips:
            text = f"({split!r}, {_text_form(clip)})"
            digest.update(text.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]


# The names that classes and fields have in fingerprints: corpora on disk hold them.
_STORED_NAMES = {"ClipRecord": "Entry", "FileRef": "Place", "TableCell": "Cell", "file": "place"}


def _text_form(value) -> str:
    """A clip, or a reference to its bytes, as stored fingerprints spell it."""
    name = type(value).__name__
    if name not in _STORED_NAMES:
        return repr(value)
    fields = (
        f"{_STORED_NAMES.get(f.name, f.name)}={_text_form(getattr(value, f.name))}"
        for f in dataclasses.fields(value)
    )
    return f"{_STORED_NAMES[name]}({', '.join(fields)})"


def _write_shard(target, settings, sample_rate, job) -> dict:
    shard, clips = job
    report = Report()
    examples = audio_examples(clips, report, sample_rate)
    return CorpusWriter(target, settings).write_shard(shard, examples, audio_features(), report)
