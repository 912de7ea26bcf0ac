"""Where sets of clips come from: folders of sound files, lists of them, prepared corpora."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from audioldm2_jax import files
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest import archives, clip_record, columns, file_index, folder, tables
from audioldm2_jax.data.ingest.file_ref import FileRef, Unreadable
from audioldm2_jax.data.ingest.names import normalise_name
from audioldm2_jax.data.ingest.report import Report, error_reason
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.pairing import stem
from audioldm2_jax.evaluation.problems import Problems, kind_of

# Columns that name clips where no column names files, e.g. MusicCaps' and AudioCaps'.
_ID_COLUMNS = "audiocap_id ytid youtube_id id clip_id name fname".split()
# Tables of captions that a folder may hold, as in Hugging Face's AudioFolder.
_METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_TEXT_SUFFIXES = (".txt", *folder.TABLES)


class Encoded(Protocol):
    """What holds a clip's encoded bytes."""

    def read(self) -> bytes:
        """All bytes. Raises Unreadable."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """An example of a prepared corpus. source: of `reader.open_split`; index: its position."""

    source: Any
    index: int

    def read(self) -> bytes:
        """The encoded audio. Raises Unreadable for a damaged record."""
        try:
            return bytes(self.source[self.index]["audio"])
        except Exception as error:  # ArrayRecord and TFDS raise many kinds for damage
            raise Unreadable(f"damaged record ({error_reason(error)})") from None


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip. name: unique in its set, `/` between folders; source: of its bytes.

    caption: the first of `captions`, "" without any.
    """

    name: str
    source: Encoded
    caption: str = ""
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    transcript: str = ""


Captions = str | os.PathLike | Mapping[str, str]  # a table's path, or caption by name


def folder_clips(path: Path, problems: Problems, follow_links: bool) -> list[Clip]:
    """All sound files below a folder, archives included.

    Texts come from a table of _METADATA there, or from a .txt or .json of a clip's name, such as
    the records that `generate` writes. Raises InputError for a table that cannot be read.
    """
    index = _index(path, problems, follow_links)
    records = folder.read_folder(index, Report(), metadata={})["train"]
    rest = index.files.keys() - {record.id for record in records}
    for name in sorted(rest):
        if not name.lower().endswith((*_TEXT_SUFFIXES, ".zip", ".tar", *archives.PACKED_SUFFIXES)):
            problems.add("not_audio", name)
    # A clip counts whatever stands in its .json, unlike in `prepare`.
    files_of = (replace(r, file=index.files[r.id]) for r in records)
    clips = _clips(files_of, problems)
    listed = [name for name in _METADATA if name in index.files]
    return with_captions(clips, path / listed[0], problems) if listed else clips


def list_clips(path: Path, problems: Problems, split: str | None, follow_links: bool) -> list[Clip]:
    """The files that a table names, beside it or below its folder, with the table's texts.

    Raises InputError for a table that cannot be read, and for one without a column of files.
    """
    index = _index(path.parent, Problems(), follow_links)
    splits = folder.read_folder(index, Report(), metadata={"": [path]})
    if split is not None and split not in splits:
        raise InputError(f"{path}: no split {split!r}; it has {' '.join(sorted(splits))}")
    records = [r for s in sorted(splits) if split in (None, s) for r in splits[s]]
    return _clips(clip_record.merge_clips(records, Report()), problems)


def corpus_clips(
    path: Path,
    problems: Problems,
    split: str | None,
    progress: Callable[[int], object] | None,
) -> list[Clip]:
    """The clips of a prepared corpus. Their records are read once for names and texts.

    split: a name, or several as `a+b`; None takes test, else validation, else the only one. Raises
    InputError for an unknown split and for a corpus without audio.
    """
    splits = sorted(reader.open_builder(path).info.splits)
    if split is None:
        usual = [s for s in ("test", "validation") if s in splits]
        if not usual and len(splits) != 1:
            raise InputError(f"{path}: name one of its splits ({' '.join(splits)})")
        split = (usual or splits)[0]
    source, clips = reader.open_split(path, split), []
    for position in range(len(source)):
        if progress:
            progress(1)
        try:
            example = source[position]
        except Exception as error:  # ArrayRecord and TFDS raise many kinds for damage
            problems.add("unreadable", f"{split}, record {position}", error_reason(error))
            continue
        if not isinstance(example.get("audio"), bytes):
            raise InputError(f"{path}: it holds no encoded audio; make it with `prepare` alone")
        captions, labels = (tuple(map(_text, example.get(k, ()))) for k in ("captions", "labels"))
        name, transcript = (_text(example.get(key, "")) for key in ("id", "transcript"))
        caption = captions[0] if captions else ""
        clips.append(Clip(name, Record(source, position), caption, captions, labels, transcript))
    return clips


def _text(value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _index(path: Path, problems: Problems, follow_links: bool) -> file_index.FileIndex:
    """All files below a folder; what it excludes is counted."""
    scratch = files.cache_folder("unpacked")
    index = file_index.FileIndex(path, scratch, Report(), follow_links=follow_links)
    links = (file_index.LINK, file_index.AGAIN)
    for name, reason in index.excluded.items():
        hidden, link = reason == file_index.HIDDEN, reason in links
        problems.add("hidden" if hidden else "link" if link else "unreadable", name, reason)
    return index


def _clips(records: Iterable[clip_record.ClipRecord], problems: Problems) -> list[Clip]:
    """Records that have a file, as clips; the others are counted."""
    clips = []
    for record in records:
        if record.file is None:
            problems.add(kind_of(record.reason), record.id, record.reason)
            continue
        caption = next(iter(record.captions), "")
        texts = record.captions, record.labels, record.transcript
        clips.append(Clip(record.id, record.file, caption, *texts))
    return clips


def with_captions(clips: list[Clip], captions: Captions, problems: Problems) -> list[Clip]:
    """Clips with the texts of the rows that name them, by path, by file name, or by its stem.

    Several rows of one clip are several captions. Rows without a clip are counted. Raises
    InputError for a table that cannot be read.
    """
    positions = _lookup([clip.name for clip in clips])
    texts: dict[int, list[dict]] = {}
    for path, fields in _rows(captions):
        name = path.rpartition("/")[2]
        keys = (path, name, stem(name))
        position = next((positions[key] for key in keys if positions.get(key) is not None), None)
        if position is None:
            problems.add("missing", path)
        else:
            texts.setdefault(position, []).append(fields)
    return [_with_fields(clip, texts.get(position, [])) for position, clip in enumerate(clips)]


def _rows(captions: Captions) -> list[tuple[str, dict]]:
    """What each row names, and its texts by the fields of a Clip.

    Raises InputError for a table without rows, or without a column of files, ids or captions.
    """
    if isinstance(captions, Mapping):
        return [(normalise_name(name), {"captions": (text,)}) for name, text in captions.items()]
    path = files.user_path(os.fspath(captions))
    try:
        rows = tables.read_table(FileRef(str(path)).read(), path.name)
    except Unreadable as error:
        raise InputError(f"{path}: {error}") from None
    if not rows:
        raise InputError(f"{path}: the table has no rows")
    names, result = _columns(rows, str(path)), []
    for row in rows:
        if value := next(iter(columns.cell_texts(row.get(names.file))), ""):
            fields = names.fields(row)
            del fields["extra"]
            result.append((normalise_name(value), fields))
    return result


def _columns(rows: list[dict], where: str) -> columns.Columns:
    """The columns of a table of captions; a column of ids serves where none names files."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    by_lower_case = {key.lower(): key for key in reversed(keys)}
    try:
        return columns.AUTO.resolve(keys, where)
    except InputError:
        ids = [by_lower_case[key] for key in _ID_COLUMNS if key in by_lower_case]
        if not ids:
            raise
        return columns.Columns(file=ids[0]).resolve(keys, where)


def _with_fields(clip: Clip, rows: list[dict]) -> Clip:
    """A clip with the texts of its rows; what they lack stays."""
    captions, labels = (
        tuple(dict.fromkeys(text for row in rows for text in row.get(key, ())))
        for key in ("captions", "labels")
    )
    transcript = next((row["transcript"] for row in rows if row.get("transcript")), "")
    return replace(
        clip,
        caption=captions[0] if captions else clip.caption,
        captions=captions or clip.captions,
        labels=labels or clip.labels,
        transcript=transcript or clip.transcript,
    )


def _lookup(names: list[str]) -> dict[str, int | None]:
    """Position by path, file name and stem; None where several clips share it."""
    lookup: dict[str, int | None] = {}
    for key_of in (lambda name: name, stem):
        for position, name in enumerate(names):
            key = key_of(name.rpartition("/")[2])
            lookup[key] = position if lookup.get(key, position) == position else None
    return lookup | {name: position for position, name in enumerate(names)}
