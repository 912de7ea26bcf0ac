"""Any folder of audio, with tables of captions, with a text beside each file, or with neither."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from audioldm2_jax.data import records, tables
from audioldm2_jax.data.entries import Entry
from audioldm2_jax.data.importers.columns import RECOGNISED, Columns, texts
from audioldm2_jax.data.places import AUDIO, OTHER_AUDIO, Place, Shelf, Unreadable, plain
from audioldm2_jax.data.report import Report
from audioldm2_jax.errors import InputError

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")


def read(
    shelf: Shelf,
    report: Report,
    *,
    metadata: dict[str, list[Path]] | None = None,
    columns: Columns = RECOGNISED,
) -> dict[str, list[Entry]]:
    """Entries by split.

    metadata: tables by split ("" for the splits that a table's own column names, else train); None
    looks for them in the folder: files named metadata.*, as Hugging Face's AudioFolder has them, or
    the one table there is. Raises InputError for tables that cannot be read or chosen.
    """
    found: dict[str, list[Entry]] = {}
    named: set[str] = set()
    if metadata is None:
        sources = [(_split_of(n), n, shelf.files[n], _parent(n)) for n in _tables(shelf)]
    else:
        sources = [
            (split, str(path), Place(str(path)), _inside(path.parent, shelf.folder))
            for split, paths in metadata.items()
            for path in paths
        ]
    for split, name, place, base in sources:
        for row_split, entry in _entries(shelf, report, name, place, base, columns):
            found.setdefault(records.dataset_name(row_split or split or "train"), []).append(entry)
            named.add(entry.id)
    if not sources:
        return {"train": list(_untabled(shelf, report))}
    for name in _audio(shelf):
        if name not in named:
            report.skip(name, "not in the table")
    return found


def _audio(shelf) -> list[str]:
    kinds = AUDIO | OTHER_AUDIO
    return [name for name in shelf.files if PurePosixPath(name).suffix.lower() in kinds]


def _tables(shelf: Shelf) -> list[str]:
    """Names of the tables in the folder."""
    names = [n for n in shelf.files if n.lower().endswith(TABLES)]
    named = [n for n in names if PurePosixPath(n).stem == "metadata"]
    if named:
        return named
    # A JSON file that has its audio's name describes that clip alone.
    alone = {n.rpartition(".")[0] + ".json" for n in _audio(shelf)}
    names = [n for n in names if n not in alone]
    top = [n for n in names if "/" not in n] or names
    if len(top) > 1:
        raise InputError(
            f"{shelf.folder}: several tables ({', '.join(top[:5])}); choose with --metadata"
        )
    return top


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _inside(folder: Path, root: Path) -> str:
    """A folder relative to the root; "" if it lies elsewhere."""
    folder, root = folder.resolve(), root.resolve()
    return plain(folder.relative_to(root).as_posix()) if folder.is_relative_to(root) else ""


def _split_of(name: str) -> str:
    """train, test ... if a folder above the table is named so."""
    known = ("train", "test", "validation", "valid", "val", "dev", "eval")
    return next((part for part in name.split("/")[:-1] if part.lower() in known), "")


def _entries(shelf, report, name, place, base, columns):
    """(split or "", entry) of a table's rows."""
    try:
        rows = tables.rows(place.read(), name)
    except Unreadable as error:
        raise InputError(f"{name}: {error}") from None
    if not rows:
        raise InputError(f"{name}: the table has no rows")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = columns.recognised(keys, name)
    for number, row in enumerate(rows, 1):
        value = next(iter(texts(row.get(columns.file))), "")
        if not value:
            report.skip(f"{name}, row {number}", "names no file")
            continue
        found, reason = resolve(shelf, value, base)
        entry = Entry(
            found or plain(value),
            placed(shelf, found, value),
            reason=reason,
            **columns.facts(row),
        )
        if not (entry.captions or entry.transcript or entry.labels):
            report.note(entry.id, "without a caption")
        yield next(iter(texts(row.get(columns.split))), "") if columns.split else "", entry


def resolve(shelf: Shelf, value: str, base: str = "") -> tuple[str, str]:
    """(the shelf's name of a file as a table names it, why there is none).

    Tried in turn: relative to the table, to the folder, the end of a path, the last component, the
    last component without a suffix. Where several files fit, none is taken.
    """
    value = plain(value)
    if (name := f"{base}/{value}" if base else value) in shelf.files:
        return name, ""
    if value.startswith("/"):
        absolute = plain(Path(value).as_posix())
        root = plain(shelf.folder.resolve().as_posix())
        if absolute.startswith(f"{root}/") and absolute[len(root) + 1 :] in shelf.files:
            return absolute[len(root) + 1 :], ""
    last = value.rpartition("/")[2]
    for found in (
        shelf.matches(value),
        shelf.by_base.get(last, []),
        shelf.audio_by_stem.get(last, []),
    ):
        if len(found) == 1 or (found and found[0] == value):
            return found[0], ""
        if found:
            return "", "several files have that name; give the path"
    return "", "missing"


def placed(shelf: Shelf, found: str, value: str) -> Place | None:
    """The file that `resolve` found, or the one at an absolute path."""
    if found:
        return shelf.files[found]
    # Tables of other tools may hold absolute paths.
    return Place(value) if value.startswith("/") and Path(value).is_file() else None


def _untabled(shelf: Shelf, report: Report):
    """Every audio file; captions are the lines of a .txt of its name, or those in a .json."""
    for name in _audio(shelf):
        stem = name.rpartition(".")[0]
        facts: dict = {}
        if (text := shelf.files.get(f"{stem}.txt")) is not None:
            facts["captions"] = tuple(texts(_decoded(text, f"{stem}.txt").splitlines()))
        elif (record := shelf.files.get(f"{stem}.json")) is not None:
            try:
                rows = tables.rows(b"[" + record.read() + b"]", f"{stem}.json")
            except Unreadable as error:
                raise InputError(f"{stem}.json: {error}") from None
            keys = ["file_name", *rows[0]]
            facts = Columns(file="file_name").recognised(keys, f"{stem}.json").facts(rows[0])
        if not any(facts.get(key) for key in ("captions", "labels", "transcript")):
            report.note(name, "without a caption")
        yield Entry(name, shelf.files[name], **facts)


def _decoded(place, name):
    try:
        return place.read().decode("utf-8-sig")
    except (UnicodeDecodeError, Unreadable):
        raise InputError(f"{name}: not UTF-8; save the file as UTF-8") from None
