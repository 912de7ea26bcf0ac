"""A clip before it is prepared: its texts and the file that holds its bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.report import Report


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One clip of a corpus.

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
    """Returns the first audio file whose name without suffix is one of `stems`, else None."""
    for stem in stems:
        if names := index.audio_by_stem.get(stem):
            return index.files[names[0]]
    return None


def find_youtube(
    index: FileIndex, video: str, start: float, stop: float | None = None
) -> FileRef | None:
    """Returns the file of a YouTube clip, under the names that download scripts use, else None.

    video: the video's id. start, stop: seconds. Scripts name clips by the video, by Y and the video
    (PANNs), or by the video and the start. The start is in seconds or milliseconds, with or without
    the end.
    """
    seconds, thousandths = int(start), round(start * 1000)
    ends = [] if stop is None else [f"{video}_{seconds}_{int(stop)}"]
    ends += [] if stop is None else [f"{video}_{thousandths}_{round(stop * 1000)}"]
    ends += [] if stop is None else [f"{video}_{start:.3f}_{stop:.3f}", f"{video}_{start}_{stop}"]
    stems = [f"{video}_{seconds:06d}", f"{video}_{thousandths}", f"{video}_{seconds}", *ends]
    return find_audio(index, [*stems, f"Y{video}", video, *(f"Y{stem}" for stem in stems)])


def merge_clips(clips: Iterable[ClipRecord], report: Report) -> Iterator[ClipRecord]:
    """Merges records of one id into the first of them, with all their captions and labels.

    AudioCaps and most captioned tables list several captions of a clip this way. Records of one id
    but different files stay apart: the later ones get a number, which the report notes.
    """
    groups: dict[str, list[ClipRecord]] = {}
    for clip in clips:
        groups.setdefault(clip.id, []).append(clip)
    for name, group in groups.items():
        by_file: dict = {}
        for clip in group:
            by_file.setdefault((clip.file, clip.start, clip.stop), []).append(clip)
        for number, same in enumerate(by_file.values()):
            first = same[0]
            if number:
                report.note(name, "name of several files, numbered")
            yield dataclasses.replace(
                first,
                id=f"{name}#{number + 1}" if number else name,
                captions=_distinct(caption for clip in same for caption in clip.captions),
                labels=_distinct(label for clip in same for label in clip.labels),
                transcript=next((clip.transcript for clip in same if clip.transcript), ""),
            )


def _distinct(texts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
