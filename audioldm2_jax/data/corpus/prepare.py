"""Entries to a prepared corpus: in parallel, with progress, and going on after a stop."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from audioldm2_jax.data.corpus import parallel, reader
from audioldm2_jax.data.corpus.writer import Build, Part, part_size
from audioldm2_jax.data.ingest.clip_record import Entry
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.ingest.report import Report


def prepare(
    splits: Mapping[str, list[Entry]],
    target,
    *,
    about: Mapping,
    report: Report,
    sample_rate: int | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Writes target as a TFDS folder of ArrayRecord; returns its statistics.

    splits: entries by split; about: `name` and what else is known (see `Build.finish`); report: has
    what was skipped so far, and receives the rest; progress(clips done) after each part. Raises
    InputError for a target that holds something else, or if no clip can be used.
    """
    target = Path(target)
    settings = {"name": about["name"], "sample_rate": sample_rate, "plan": _fingerprint(splits)}
    build = Build(target, settings)
    if build.finished:
        return reader.statistics(target)
    jobs, done = [], {}
    for split, entries in splits.items():
        size = part_size(len(entries))
        for index, start in enumerate(range(0, len(entries), size)):
            part, piece = Part(split, index), entries[start : start + size]
            if found := build.summary(part):
                done[part] = found
                _tell(progress, len(piece))
            else:
                jobs.append((part, piece))
    write = functools.partial(_write_part, target, settings, sample_rate)
    for (part, piece), found in zip(jobs, parallel.in_parts(write, jobs, workers)):
        done[part] = found
        _tell(progress, len(piece))
    return build.finish(done, reader.audio_features(), report=report, about=about)


def _tell(progress, count):
    if progress:
        progress(count)


def _fingerprint(splits: Mapping[str, list[Entry]]) -> str:
    found = hashlib.sha256()
    for split, entries in splits.items():
        for e in entries:
            found.update(repr((split, e)).encode("utf-8", "backslashreplace"))
    return found.hexdigest()[:16]


def _write_part(target, settings, sample_rate, job) -> dict:
    part, entries = job
    report = Report()
    examples = audio_examples(entries, report, sample_rate)
    return Build(target, settings).write(part, examples, reader.audio_features(), report)


def audio_examples(entries, report: Report, sample_rate: int | None = None) -> Iterator[dict]:
    """The examples of usable entries; the others go into the report."""
    for entry in entries:
        try:
            example, notes = reader.audio_example(entry, sample_rate)
        except Unreadable as error:
            report.skip(entry.id, str(error))
            continue
        except (RuntimeError, ValueError, MemoryError) as error:  # a codec's own
            report.skip(entry.id, f"cannot be converted ({type(error).__name__})")
            continue
        for note in notes:
            report.note(entry.id, note)
        yield example
