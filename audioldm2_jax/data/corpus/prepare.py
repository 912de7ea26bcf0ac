"""Entries to a prepared corpus: in parallel, with progress, and going on after a stop."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from audioldm2_jax.data.corpus import parallel, reader
from audioldm2_jax.data.corpus.examples import audio_examples, audio_features
from audioldm2_jax.data.corpus.writer import CorpusWriter, Shard, shard_size
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.report import Report


def prepare(
    splits: Mapping[str, list[ClipRecord]],
    target,
    *,
    about: Mapping,
    report: Report,
    sample_rate: int | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Writes target as a TFDS folder of ArrayRecord; returns its statistics.

    splits: entries by split; about: `name` and what else is known (see `CorpusWriter.finish`);
    report: has what was skipped so far, and receives the rest. progress: called with the number of
    clips after each shard. Raises InputError for a target that holds something else, or if no clip
    can be used.
    """
    target = Path(target)
    settings = {"name": about["name"], "sample_rate": sample_rate, "plan": _fingerprint(splits)}
    build = CorpusWriter(target, settings)
    if build.finished:
        return reader.read_statistics(target)
    jobs, done = [], {}
    for split, entries in splits.items():
        size = shard_size(len(entries))
        for index, start in enumerate(range(0, len(entries), size)):
            part, piece = Shard(split, index), entries[start : start + size]
            if found := build.summary(part):
                done[part] = found
                _tell(progress, len(piece))
            else:
                jobs.append((part, piece))
    write = functools.partial(_write_part, target, settings, sample_rate)
    for (part, piece), found in zip(jobs, parallel.parallel_map(write, jobs, workers)):
        done[part] = found
        _tell(progress, len(piece))
    return build.finish(done, audio_features(), report=report, about=about)


def _tell(progress, count):
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


def _write_part(target, settings, sample_rate, job) -> dict:
    part, entries = job
    report = Report()
    examples = audio_examples(entries, report, sample_rate)
    return CorpusWriter(target, settings).write(part, examples, audio_features(), report)
