"""The file that a table means by a path."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax.data.places import Place, Shelf, plain

SEVERAL = "several files have that name; give the path"
OUTSIDE = "outside the folder; --allow_outside reads it"


@dataclass(frozen=True)
class Match:
    """name: the shelf's, or the path as the table has it; place: None for the `reason` given.

    note: what is odd about a file that was found.
    """

    name: str
    place: Place | None = None
    reason: str = "missing"
    note: str = ""


def find(shelf: Shelf, value: str, base: str = "", folder: Path | None = None) -> Match:
    """What a table means by `value`.

    base: the table's folder in the shelf; folder: on disk. Tried in turn: relative to the table, to
    the shelf, the end of a path, the last component, the last component without a suffix; each in
    another case where nothing fits exactly. Where several files fit, none is taken. A file outside
    the shelf is taken if the shelf allows it.
    """
    if "\0" in value:
        return Match(value)
    path = plain(value)
    name = posixpath.normpath(f"{base}/{path}" if base else path)
    if name in shelf.files:
        return Match(name, shelf.files[name])
    if path.startswith("/"):
        root = plain(shelf.folder.resolve().as_posix())
        absolute = posixpath.normpath(path)
        if absolute.startswith(f"{root}/") and (name := absolute[len(root) + 1 :]) in shelf.files:
            return Match(name, shelf.files[name])
    tail = posixpath.normpath(path)
    while tail.startswith("../"):
        tail = tail[3:]
    last = tail.rpartition("/")[2]
    for names in (
        shelf.matches(tail.lstrip("/")) if tail.startswith("/") else shelf.matches(tail),
        shelf.by_base.get(last, []),
        shelf.audio_by_stem.get(last, []),
        shelf.folded.get(last.casefold(), []),
    ):
        if len(names) == 1 or (names and names[0] == tail):
            other = last not in names[0] and last.casefold() in names[0].casefold()
            note = "named in another case" if other else ""
            return Match(names[0], shelf.files[names[0]], "", note)
        if names:
            return Match(path, None, SEVERAL)
    return _outside(shelf, path, folder)


def _outside(shelf: Shelf, path: str, folder: Path | None) -> Match:
    """A file that is not on the shelf: at an absolute path, or relative to the table."""
    if not path.startswith("/") and folder is None:
        return Match(path)
    file = Path(path) if path.startswith("/") else folder / path
    try:
        there = file.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        return Match(path)
    return Match(path, Place(str(file)), "") if shelf.allow_outside else Match(path, None, OUTSIDE)
