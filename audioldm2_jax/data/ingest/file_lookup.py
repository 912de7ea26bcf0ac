"""Finds the file that a table means by a path."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.names import normalise_name

AMBIGUOUS = "several files have that name; give the path"
OUTSIDE = "outside the folder; --allow_outside reads it"
NAME_ALONE = "found by its name alone: the path in the table leads elsewhere"


@dataclass(frozen=True)
class Match:
    """The result of a lookup.

    name: the name in the index, or the path as the table has it. file: None where `reason` says
    why there is none. note: what is odd about the file.
    """

    name: str
    file: FileRef | None = None
    reason: str = "missing"
    note: str = ""


def find_file(index: FileIndex, value: str, base: str = "", folder: Path | None = None) -> Match:
    """Finds the file that a table means by `value`.

    base: the table's folder in the index. folder: the table's folder on disk. The lookup
    tries a path from the table, a path from the index, the end of a path, a file name, and a file
    name without suffix. Where nothing fits exactly, case is ignored. The result has no file if
    several fit, or if the index excludes the file. The index decides about files outside it.
    """
    if "\0" in value:
        return Match(value)
    path = normalise_name(value)
    for name in _exact_names(index, path, base):
        if name in index.files:
            return Match(name, index.files[name])
        if reason := index.exclusion_reason(name):
            return Match(path, None, reason)
    outside = _find_outside(index, path, folder)
    if outside.file:
        return outside
    tail = posixpath.normpath(path).lstrip("/")
    while tail.startswith("../"):
        tail = tail[3:]
    last = tail.rpartition("/")[2]
    for names in (
        index.matches(tail),
        index.ending_with(last),
        index.audio_by_stem.get(last, []),
        index.ending_with(last, fold=True),
    ):
        if len(names) == 1 or (names and names[0] == tail):
            note = _note(names[0], tail, last, outside.reason == OUTSIDE)
            return Match(names[0], index.files[names[0]], "", note)
        if names:
            return Match(path, None, AMBIGUOUS)
    return outside


def _exact_names(index: FileIndex, path: str, base: str) -> list[str]:
    """The names in the index that a path spells exactly: relative to table or index, absolute."""
    names = [f"{base}/{path}" if base else path, path]
    if path.startswith("/"):
        names, root = [posixpath.normpath(path)], normalise_name(index.folder.resolve().as_posix())
        names = [n[len(root) + 1 :] for n in (names[0],) if n.startswith(f"{root}/")]
    names = [posixpath.normpath(name) for name in names]
    return [index.resolve_link(n) for n in names if n != ".." and not n.startswith("../")]


def _note(name: str, tail: str, last: str, leads_outside: bool) -> str:
    """What the report notes when `name` is taken for a path that ends with `tail`."""
    if last not in name and last.casefold() in name.casefold():
        return "named in another case"
    stem = name.rpartition(".")[0]
    whole = any(f"/{n}".endswith(f"/{tail}") for n in (name, stem))
    return "" if whole and not leads_outside else NAME_ALONE


def _find_outside(index: FileIndex, path: str, folder: Path | None) -> Match:
    """Finds a file that is not in the index: at an absolute path, or relative to the table."""
    if not path.startswith("/") and folder is None:
        return Match(path)
    file = Path(path) if path.startswith("/") else folder / path
    try:
        if not file.is_file():
            return Match(path)
        root, real = (os.path.realpath(p) for p in (index.folder, file))
    except (OSError, ValueError):
        return Match(path)
    # A path may lead through links to a file of the index.
    if real.startswith(root + os.sep):
        return Match(path)
    return (
        Match(path, FileRef(str(file)), "") if index.allow_outside else Match(path, None, OUTSIDE)
    )
