"""Reads a folder of audio with tables of captions, with a text file per clip, or with neither."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from audioldm2_jax.data.ingest import tables
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.columns import AUTO, Columns, cell_texts
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_lookup import find_file
from audioldm2_jax.data.ingest.file_ref import (
    AUDIO_SUFFIXES,
    UNSUPPORTED_SUFFIXES,
    FileRef,
    Unreadable,
)
from audioldm2_jax.data.ingest.names import normalise_name, tfds_name
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import InputError

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_MAX_SIDECAR = 1 << 20  # bytes of a clip's .txt or .json


def read_folder(
    index: FileIndex,
    report: Report,
    *,
    metadata: dict[str, list[Path]] | None = None,
    columns: Columns = AUTO,
) -> dict[str, list[ClipRecord]]:
    """Returns the clips of each split.

    metadata: tables by split. The split "" stands for a table's own split column, else for train.
    None searches the folder: for files named metadata.*, like Hugging Face's AudioFolder, else for
    its only table. Raises InputError for tables that cannot be read, and for several candidates.
    """
    splits: dict[str, list[ClipRecord]] = {}
    listed: set[str] = set()
    if metadata is None:
        sources = [(_split_of(n), n, index.files[n], _parent(n)) for n in _tables(index)]
    else:
        sources = [
            (split, str(path), FileRef(str(path)), _inside(path.parent, index.folder))
            for split, paths in metadata.items()
            for path in paths
        ]
    for split, name, table, base in sources:
        for row_split, clip in _clips(index, report, name, table, base, columns):
            splits.setdefault(tfds_name(row_split or split or "train"), []).append(clip)
            listed.add(clip.id)
    if not sources and columns != AUTO:
        raise InputError(
            f"{index.folder}: columns are named, but there is no table; leave them out"
        )
    if not sources:
        return {"train": list(_clips_without_table(index, report))}
    for name in _audio(index):
        if name not in listed:
            report.skip(name, "not in the table")
    return splits


def _audio(index) -> list[str]:
    kinds = AUDIO_SUFFIXES | UNSUPPORTED_SUFFIXES
    return [name for name in index.files if PurePosixPath(name).suffix.lower() in kinds]


def _tables(index: FileIndex) -> list[str]:
    """Names of the folder's tables of captions. Raises InputError for several candidates."""
    names = [n for n in index.files if n.lower().endswith(TABLES)]
    named = [n for n in names if PurePosixPath(n).stem == "metadata"]
    if named:
        return named
    # A JSON file with the name of an audio file describes that clip only.
    of_clips = {index.sibling(n, ".json") for n in _audio(index)}
    names = [n for n in names if n not in of_clips]
    top = [n for n in names if "/" not in n] or names
    if len(top) > 1:
        raise InputError(
            f"{index.folder}: several tables ({', '.join(top[:5])}); choose with --metadata"
        )
    return top


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _inside(folder: Path, root: Path) -> str:
    """A folder's path relative to the root; "" if it lies outside."""
    folder, root = folder.resolve(), root.resolve()
    return (
        normalise_name(folder.relative_to(root).as_posix()) if folder.is_relative_to(root) else ""
    )


def _split_of(name: str) -> str:
    """The split that a folder above the table names (train, test ...), else ""."""
    known = ("train", "test", "validation", "valid", "val", "dev", "eval")
    return next((part for part in name.split("/")[:-1] if part.lower() in known), "")


def _clips(index, report, name, table, base, columns):
    """Yields (split or "", clip) for each row of a table."""
    folder = None if table.member or table.offset >= 0 else Path(table.path).parent
    try:
        rows = tables.read_table(table.read(), name)
    except Unreadable as error:
        raise InputError(f"{name}: {error}") from None
    if not rows:
        raise InputError(f"{name}: the table has no rows")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = columns.resolve(keys, name)
    for number, row in enumerate(rows, 1):
        value = next(iter(cell_texts(row.get(columns.file))), "")
        if not value:
            report.skip(f"{name}, row {number}", "names no file")
            continue
        match = find_file(index, value, base, folder)
        clip = ClipRecord(match.name, match.file, reason=match.reason, **columns.fields(row))
        if match.note:
            report.note(clip.id, match.note)
        if not (clip.captions or clip.transcript or clip.labels):
            report.note(clip.id, "without a caption")
        yield next(iter(cell_texts(row.get(columns.split))), "") if columns.split else "", clip


def _clips_without_table(index: FileIndex, report: Report):
    """Yields each audio file as a clip; its captions come from a .txt or .json of the same name."""
    for name in _audio(index):
        fields: dict = {}
        try:
            fields = _sidecar_fields(index, name)
        except Unreadable as error:
            yield ClipRecord(name, None, reason=str(error))
            continue
        if not any(fields.get(key) for key in ("captions", "labels", "transcript")):
            report.note(name, "without a caption")
        yield ClipRecord(name, index.files[name], **fields)


def _sidecar_fields(index: FileIndex, name: str) -> dict:
    """Reads the .txt (one caption per line) or .json of a clip's name. Raises Unreadable."""
    if text := index.sibling(name, ".txt"):
        lines = re.split(r"\r\n|\n|\r", _text(index.files[text], ".txt"))
        return {"captions": tuple(cell_texts(lines))}
    if record := index.sibling(name, ".json"):
        text = _text(index.files[record], ".json")
        try:
            (row,) = tables.read_table(f"[{text}]".encode("utf-8", "surrogatepass"), record)
        except (InputError, ValueError):
            raise Unreadable("its .json is not one object with named values") from None
        return Columns(file="file_name").resolve(["file_name", *row], record).fields(row)
    return {}


def _text(file: FileRef, suffix: str) -> str:
    try:
        text = file.read(_MAX_SIDECAR).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(f"its {suffix} is not UTF-8; save it as UTF-8") from None
    except Unreadable as error:
        raise Unreadable(f"its {suffix}: {error}") from None
    if "\0" in text:
        raise Unreadable(f"its {suffix} holds a NUL; save it as UTF-8 text")
    return text
