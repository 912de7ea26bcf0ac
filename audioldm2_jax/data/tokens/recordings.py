"""Recordings of a folder of sounds or of a prepared corpus, one after another, in short pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest import audio_files, folder, huggingface
from audioldm2_jax.data.ingest.clip_record import ClipRecord, merge_clips
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.ingest.report import Report, error_reason
from audioldm2_jax.errors import InputError, printable


@dataclass(frozen=True)
class Recording:
    """An encoded file with its texts. start, stop: its range in seconds, None for all of it."""

    id: str
    data: bytes
    captions: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    transcript: str = ""
    start: float | None = None
    stop: float | None = None


@dataclass(frozen=True)
class Piece:
    """A part of a recording. wave: [samples, channels] fp32; start: seconds in the recording."""

    wave: np.ndarray
    sample_rate: int
    channel: int
    start: float


class FolderRecordings:
    """The clips of a split of a folder of sounds."""

    def __init__(self, clips: list[ClipRecord]):
        self._clips = clips

    def __len__(self):
        return len(self._clips)

    def name(self, index: int) -> str:
        """The clip's id."""
        return self._clips[index].id

    def __getitem__(self, index: int) -> Recording:
        """Raises Unreadable for a file that cannot be read."""
        clip = self._clips[index]
        if clip.file is None:
            raise Unreadable(clip.reason)
        texts = list(clip.captions), list(clip.labels), clip.transcript
        return Recording(clip.id, clip.file.read(), *texts, clip.start, clip.stop)


class CorpusRecordings:
    """The clips of a split of a prepared corpus."""

    def __init__(self, path, split: str):
        self._split, self._source = split, reader.open_split(path, split)

    def __len__(self):
        return len(self._source)

    def name(self, index: int) -> str:
        """The record's place, since reading its id would read its audio."""
        return f"{self._split}, record {index}"

    def __getitem__(self, index: int) -> Recording:
        """Raises Unreadable for a damaged record."""
        try:
            example = self._source[index]
        except Exception as error:  # ArrayRecord and TFDS raise many kinds for damage
            raise Unreadable(f"damaged ({error_reason(error)})") from None
        texts = ([text.decode() for text in example[key]] for key in ("captions", "labels"))
        name, transcript = (example[key].decode() for key in ("id", "transcript"))
        return Recording(name, example["audio"], *texts, transcript)


def open_recordings(source, report: Report) -> tuple[dict[str, Sequence], str]:
    """({split: recordings}, a digest of their list) of a folder of sounds or a prepared corpus.

    report: receives the files that are skipped. Raises InputError for a folder without sounds, and
    for a corpus that holds no audio.
    """
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    if reader.is_corpus(source):
        info = reader.open_builder(source).info
        if "audio" not in info.features:
            raise InputError(f"{source}: holds no audio; it is encoded already")
        counts = {name: split.num_examples for name, split in sorted(info.splits.items())}
        splits = {name: CorpusRecordings(source, name) for name in counts}
        return splits, f"{info.name}, {sum(counts.values())} clips"
    # Its notes are on captions, which no tokens are made of.
    listing, scratch = Report(), source.with_name(f".{source.name}-unpacked")
    index = FileIndex(source, scratch, listing)
    export = huggingface.is_export(index)
    records_of = huggingface.read_export(index) if export else folder.read_folder(index, listing)
    clips = {split: list(merge_clips(records, listing)) for split, records in records_of.items()}
    report.skipped += listing.skipped
    if not any(clips.values()):
        raise InputError(f"{source}: no audio there{report.reasons()}")
    digest = hashlib.sha256()
    for split, records in sorted(clips.items()):
        for clip in records:
            line = f"{split}\0{clip.id}\0{clip.start}\0{clip.stop}\n"
            digest.update(line.encode("utf-8", "backslashreplace"))
    splits = {split: FolderRecordings(records) for split, records in sorted(clips.items())}
    return splits, digest.hexdigest()[:16]


def pieces(recording: Recording, seconds: float, report: Report) -> Iterator[Piece]:
    """Yields a recording in equal pieces of at most `seconds`, without decoding it at once.

    Raises Unreadable for a file that is damaged anywhere.
    """
    name = recording.id
    info = audio_files.check_audio(recording.data, name, recording.start, recording.stop)
    for note in info.notes:
        report.note(name, note)
    rate = info.sample_rate
    count = max(1, -(-info.samples // int(seconds * rate)))
    size = -(-info.samples // count)
    first = round((recording.start or 0.0) * rate)
    pending, begin = np.zeros((0, info.channels), np.float32), 0
    with audio_files.open_audio(recording.data, name) as file:
        for block in file.blocks(first, info.samples):
            pending = np.concatenate([pending, block])
            while len(pending) >= size:
                yield Piece(pending[:size], rate, info.channel, begin / rate)
                pending, begin = pending[size:], begin + size
    if len(pending):
        yield Piece(pending, rate, info.channel, begin / rate)


def piece_name(recording: Recording, piece: Piece) -> str:
    """The id of a piece: the recording's, and the start where it is not the first."""
    name = printable(recording.id)
    return name if not piece.start else f"{name}@{piece.start:.3f}"
