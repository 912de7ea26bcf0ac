"""Any folder of audio, with tables of captions, with a text beside each file, or with neither."""

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
_CAPTION = 1 << 20  # bytes of a text beside a clip


def read_folder(
    index: FileIndex,
    report: Report,
    *,
    metadata: dict[str, list[Path]] | None = None,
    columns: Columns = AUTO,
) -> dict[str, list[ClipRecord]]:
    """Entries by split.

    metadata: tables by split ("" for the splits that a table's own column names, else train); None
    looks for them in the folder: files named metadata.*, as Hugging Face's AudioFolder has them, or
    the one table there is. Raises InputError for tables that cannot be read or chosen.
    """
    found: dict[str, list[ClipRecord]] = {}
    named: set[str] = set()
    if metadata is None:
        sources = [(_split_of(n), n, index.files[n], _parent(n)) for n in _tables(index)]
    else:
        sources = [
            (split, str(path), FileRef(str(path)), _inside(path.parent, index.folder))
            for split, paths in metadata.items()
            for path in paths
        ]
    for split, name, place, base in sources:
        for row_split, entry in _entries(index, report, name, place, base, columns):
            found.setdefault(tfds_name(row_split or split or "train"), []).append(entry)
            named.add(entry.id)
    if not sources and columns != AUTO:
        raise InputError(
            f"{index.folder}: columns are named, but there is no table; leave them out"
        )
    if not sources:
        return {"train": list(_untabled(index, report))}
    for name in _audio(index):
        if name not in named:
            report.skip(name, "not in the table")
    return found


def _audio(index) -> list[str]:
    kinds = AUDIO_SUFFIXES | UNSUPPORTED_SUFFIXES
    return [name for name in index.files if PurePosixPath(name).suffix.lower() in kinds]


def _tables(index: FileIndex) -> list[str]:
    """Names of the tables in the folder."""
    names = [n for n in index.files if n.lower().endswith(TABLES)]
    named = [n for n in names if PurePosixPath(n).stem == "metadata"]
    if named:
        return named
    # A JSON file that has its audio's name describes that clip alone.
    alone = {index.sibling(n, ".json") for n in _audio(index)}
    names = [n for n in names if n not in alone]
    top = [n for n in names if "/" not in n] or names
    if len(top) > 1:
        raise InputError(
            f"{index.folder}: several tables ({', '.join(top[:5])}); choose with --metadata"
        )
    return top


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _inside(folder: Path, root: Path) -> str:
    """A folder relative to the root; "" if it lies elsewhere."""
    folder, root = folder.resolve(), root.resolve()
    return (
        normalise_name(folder.relative_to(root).as_posix()) if folder.is_relative_to(root) else ""
    )


def _split_of(name: str) -> str:
    """train, test ... if a folder above the table is named so."""
    known = ("train", "test", "validation", "valid", "val", "dev", "eval")
    return next((part for part in name.split("/")[:-1] if part.lower() in known), "")


def _entries(index, report, name, place, base, columns):
    """(split or "", entry) of a table's rows."""
    folder = None if place.member or place.offset >= 0 else Path(place.path).parent
    try:
        rows = tables.read_table(place.read(), name)
    except Unreadable as error:
        raise InputError(f"{name}: {error}") from None
    if not rows:
        raise InputError(f"{name}: the table has no rows")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = columns.recognised(keys, name)
    for number, row in enumerate(rows, 1):
        value = next(iter(cell_texts(row.get(columns.file))), "")
        if not value:
            report.skip(f"{name}, row {number}", "names no file")
            continue
        match = find_file(index, value, base, folder)
        entry = ClipRecord(match.name, match.file, reason=match.reason, **columns.facts(row))
        if match.note:
            report.note(entry.id, match.note)
        if not (entry.captions or entry.transcript or entry.labels):
            report.note(entry.id, "without a caption")
        yield next(iter(cell_texts(row.get(columns.split))), "") if columns.split else "", entry


def _untabled(index: FileIndex, report: Report):
    """Every audio file; captions are the lines of a .txt of its name, or those in a .json."""
    for name in _audio(index):
        facts: dict = {}
        try:
            facts = _facts_beside(index, name)
        except Unreadable as error:
            yield ClipRecord(name, None, reason=str(error))
            continue
        if not any(facts.get(key) for key in ("captions", "labels", "transcript")):
            report.note(name, "without a caption")
        yield ClipRecord(name, index.files[name], **facts)


def _facts_beside(index: FileIndex, name: str) -> dict:
    """What a .txt or .json of a clip's name says of it. Raises Unreadable."""
    if text := index.sibling(name, ".txt"):
        lines = re.split(r"\r\n|\n|\r", _text(index.files[text], ".txt"))
        return {"captions": tuple(cell_texts(lines))}
    if record := index.sibling(name, ".json"):
        text = _text(index.files[record], ".json")
        try:
            (row,) = tables.read_table(f"[{text}]".encode("utf-8", "surrogatepass"), record)
        except (InputError, ValueError):
            raise Unreadable("its .json is not one object with named values") from None
        return Columns(file="file_name").recognised(["file_name", *row], record).facts(row)
    return {}


def _text(place: FileRef, suffix: str) -> str:
    try:
        text = place.read(_CAPTION).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(f"its {suffix} is not UTF-8; save it as UTF-8") from None
    except Unreadable as error:
        raise Unreadable(f"its {suffix}: {error}") from None
    if "\0" in text:
        raise Unreadable(f"its {suffix} holds a NUL; save it as UTF-8 text")
    return text
