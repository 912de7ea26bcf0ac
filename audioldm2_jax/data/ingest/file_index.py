"""All files of a corpus' folder by name, those in its archives included."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from audioldm2_jax.data.ingest import archives
from audioldm2_jax.data.ingest.file_ref import (
    AUDIO_SUFFIXES,
    UNSUPPORTED_SUFFIXES,
    FileRef,
    Unreadable,
    open_zip,
)
from audioldm2_jax.data.ingest.names import normalise_name
from audioldm2_jax.data.ingest.report import Report, error_reason
from audioldm2_jax.errors import InputError

LINK = "link; --follow_links reads what it leads to"
AGAIN = "link to a folder that is read already"
HIDDEN = "hidden name; rename it"


class FileIndex:
    """All files below a folder, those in archives included, by name.

    Zips (whole or split) and plain tars are read where they are; compressed tars and 7z, which can
    only be read from front to back, are unpacked into `scratch` once. Names are relative to the
    folder; an archive counts as a folder of its own name. What is left out (damaged archives, links
    unless `follow_links`, pipes and devices, folders that cannot be listed) is reported by name.
    excluded: the reasons by name; aliases: links to folders that are read under another name.
    allow_outside: whether tables may name files outside the folder. tick: is called for each file.
    Raises InputError if there is no such folder.
    """

    def __init__(
        self,
        folder,
        scratch,
        report: Report,
        say: Callable[[str], None] | None = None,
        *,
        follow_links: bool = False,
        allow_outside: bool = False,
        tick: Callable[[], object] | None = None,
    ):
        self.folder, self.scratch, self.report = Path(folder), Path(scratch), report
        self.say, self.tick = say or (lambda text: None), tick or (lambda: None)
        self.allow_outside = allow_outside
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; put the corpus' files there")
        self.files: dict[str, FileRef] = {}
        self.excluded: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self._tails: dict[tuple[int, bool], dict[str, list[str]]] = {}
        self._walk(self.folder, "", follow_links)

    @functools.cached_property
    def depth(self) -> int:
        """Most components of a name."""
        return max((name.count("/") + 1 for name in self.files), default=0)

    def ending_with(self, tail: str, fold: bool = False) -> list[str]:
        """Names that end with `tail` as whole components, those nearest to the folder first.

        fold: in any case.
        """
        count = tail.count("/") + 1
        if count > self.depth:
            return []
        if (count, fold) not in self._tails:
            names = [n for n in self.files if n.count("/") + 1 >= count]
            names.sort(key=lambda n: (n.count("/"), len(n), n))
            ends = ("/".join(n.split("/")[-count:]) for n in names)
            self._tails[count, fold] = _group(names, (e.casefold() if fold else e for e in ends))
        return self._tails[count, fold].get(tail.casefold() if fold else tail, [])

    def resolve_link(self, name: str) -> str:
        """The name under which a file behind a link to a folder is read."""
        parts, at = name.split("/"), 1
        while at < len(parts):
            if (target := self.aliases.get("/".join(parts[:at]))) is None:
                at += 1
            else:
                parts = [*target.split("/"), *parts[at:]] if target else parts[at:]
                at = max(1, target.count("/") + 1)
        return "/".join(parts)

    def exclusion_reason(self, name: str) -> str:
        """The reason that a file, or a folder above it, was left out; "" if none was."""
        parts = name.split("/")
        heads = itertools.accumulate(parts, lambda head, part: f"{head}/{part}")
        return next((self.excluded[head] for head in heads if head in self.excluded), "")

    @functools.cached_property
    def audio_by_stem(self) -> dict[str, list[str]]:
        """Names of audio (and video) files by their last component without its suffix."""
        kinds = AUDIO_SUFFIXES | UNSUPPORTED_SUFFIXES
        names = [n for n in self.files if PurePosixPath(n).suffix.lower() in kinds]
        return _group(names, (PurePosixPath(name).stem for name in names))

    def matches(self, name: str) -> list[str]:
        """Names that equal `name` or end with it as whole components, the nearest first.

        Where there is none, those that do in another case (`a.WAV`).
        """
        name = normalise_name(name)
        if name in self.files:
            return [name]
        if names := self.ending_with(name):
            return names
        names, depth = self.ending_with(name, fold=True), name.count("/")
        return list(itertools.takewhile(lambda n: n.count("/") == depth, names)) or names

    def sibling(self, name: str, suffix: str) -> str | None:
        """The file of `name`'s stem with another suffix, in any case of that; None without one."""
        stem = name.rpartition(".")[0]
        if stem + suffix in self.files:
            return stem + suffix
        names = self.ending_with(stem + suffix, fold=True)
        return next((n for n in names if n.rpartition(".")[0] == stem), None)

    def glob(self, pattern: str) -> list[str]:
        """Names that fit a pattern such as `json_files/*.json`, below any folder, sorted."""
        fits = fnmatch.fnmatchcase
        return sorted(n for n in self.files if fits(n, pattern) or fits(n, "*/" + pattern))

    def find(self, name: str) -> FileRef | None:
        """Where the file of that name is, the one nearest to the folder; None if there is none."""
        found = self.matches(name)
        return self.files[found[0]] if found else None

    def require(self, name: str) -> bytes:
        """A metadata file's bytes. Raises InputError if it is not there or not readable."""
        if not (place := self.find(name)):
            raise InputError(
                f"{self.folder}: {name} is not there, nor in an archive there (see the README)"
            )
        try:
            return place.read()
        except Unreadable as error:
            raise InputError(f"{self.folder}: {name}: {error}") from None

    def _walk(self, folder: Path, under: str, follow_links: bool) -> None:
        # Links to folders wait until all others are read: a folder's own name goes first.
        waiting, links, known = [(folder, under)], [], {}
        while waiting or links:
            folder, under = waiting.pop() if waiting else links.pop()
            try:
                facts = os.stat(folder)
                listing = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self._leave(under or str(folder), f"cannot be listed ({error.strerror})")
                continue
            first = known.setdefault((facts.st_dev, facts.st_ino), under)
            if first != under:
                above = under.startswith(first)
                self.report.skip(under, "link to a folder above it" if above else AGAIN)
                self.aliases[under[:-1]] = first[:-1]
                continue
            folders = [
                pair for entry in listing if (pair := self._entry(entry, under, follow_links))
            ]
            for linked, pairs in ((False, waiting), (True, links)):
                pairs += [p for p in reversed(folders) if p[0].is_symlink() == linked]

    def _entry(self, entry: os.DirEntry, under: str, follow_links: bool) -> tuple[Path, str] | None:
        """Takes in what is no folder; of a folder that is to be read, (path, its name here)."""
        name = under + normalise_name(entry.name)
        if _hidden(entry.name):
            self.excluded[name] = HIDDEN
        elif entry.is_symlink() and not follow_links:
            self._leave(name, LINK)
        elif entry.is_dir():
            return Path(entry.path), f"{name}/"
        elif entry.is_file():
            self.tick()
            self.files[name] = FileRef(entry.path)
            self._open(Path(entry.path), f"{name}/")
        else:
            self._leave(name, "no ordinary file (pipe, socket, device, broken link)")
        return None

    def _leave(self, name: str, reason: str) -> None:
        self.excluded[name.rstrip("/")] = reason
        self.report.skip(name, reason)

    def _open(self, path: Path, under: str) -> None:
        """Adds an archive's members, if it is one."""
        name = path.name.lower()
        try:
            if name.endswith(".zip"):
                self._add(archives.zip_members(open_zip(str(path)), str(path)), under)
            elif name.endswith(".tar"):
                self._add(archives.tar_members(path), under)
            elif name.endswith(archives.PACKED_SUFFIXES):
                folder = archives.unpack(path, self.scratch, self.say, self.report)
                # Links of an archive's making lead wherever it likes.
                self._walk(folder, under, follow_links=False)
        except InputError:
            raise
        except Exception as error:  # archives raise many kinds for damage
            self._leave(under[:-1], f"damaged archive ({error_reason(error)})")

    def _add(self, members: Iterator[tuple[str, FileRef | str]], under: str) -> None:
        """Places by name; a str in a place's stead is the reason that there is none."""
        for name, place in members:
            if any(_hidden(part) for part in name.split("/")):
                self.excluded[under + name] = HIDDEN
                continue
            self.tick()
            if isinstance(place, str):
                self._leave(under + name, place)
            else:
                self.files[under + name] = place


def _hidden(name: str) -> bool:
    """Names that systems and downloads leave behind."""
    return (name.startswith(".") and name != "..") or name == "__MACOSX" or name.endswith(".part")


def _group(names: Iterable[str], keys: Iterable[str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name, key in zip(names, keys):
        groups[key].append(name)
    return groups
