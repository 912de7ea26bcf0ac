"""A clip before it is prepared: what is known of it and where its bytes are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.report import Report


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One clip.

    id: its name, unique in a split; file: where its bytes are, None if nowhere; captions, labels:
    any number; start, stop: the range of the file in seconds, None for the whole; extra: other
    values that JSON can hold; reason: why there is no file.
    """

    id: str
    file: FileRef | None
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    transcript: str = ""
    start: float | None = None
    stop: float | None = None
    extra: dict = field(default_factory=dict)
    reason: str = "missing"


def find_audio(index: FileIndex, stems: Iterable[str]) -> FileRef | None:
    """The first audio file with one of these names (without suffix)."""
    for stem in stems:
        if found := index.audio_by_stem.get(stem):
            return index.files[found[0]]
    return None


def find_youtube(
    index: FileIndex, video: str, start: float, stop: float | None = None
) -> FileRef | None:
    """A clip of a YouTube video under the names in use for such files.

    Common download scripts name clips by the video, by Y and the video (PANNs), or by the video and
    the start, in seconds or milliseconds, with and without the end.
    """
    seconds, thousandths = int(start), round(start * 1000)
    ends = [] if stop is None else [f"{video}_{seconds}_{int(stop)}"]
    ends += [] if stop is None else [f"{video}_{thousandths}_{round(stop * 1000)}"]
    ends += [] if stop is None else [f"{video}_{start:.3f}_{stop:.3f}", f"{video}_{start}_{stop}"]
    stems = [f"{video}_{seconds:06d}", f"{video}_{thousandths}", f"{video}_{seconds}", *ends]
    return find_audio(index, [*stems, f"Y{video}", video, *(f"Y{stem}" for stem in stems)])


def merge_clips(entries: Iterable[ClipRecord], report: Report) -> Iterator[ClipRecord]:
    """Entries of one id become one, with all their captions and labels, where the first one was.

    That is how AudioCaps' and most captioned tables give several captions of a clip. Two entries of
    one id but different files stay apart, the later ones numbered, and are noted.
    """
    groups: dict[str, list[ClipRecord]] = {}
    for entry in entries:
        groups.setdefault(entry.id, []).append(entry)
    for name, group in groups.items():
        files: dict = {}
        for entry in group:
            files.setdefault((entry.file, entry.start, entry.stop), []).append(entry)
        for number, same in enumerate(files.values()):
            first = same[0]
            if number:
                report.note(name, "name of several files, numbered")
            yield dataclasses.replace(
                first,
                id=f"{name}#{number + 1}" if number else name,
                captions=_distinct(c for entry in same for c in entry.captions),
                labels=_distinct(label for entry in same for label in entry.labels),
                transcript=next((e.transcript for e in same if e.transcript), ""),
            )


def _distinct(texts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
