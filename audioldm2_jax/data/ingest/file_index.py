"""The index of all files of a corpus' folder by name, including those inside its archives."""

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
    """All files below a folder by name, including those inside archives.

    Names are relative to the folder; an archive counts as a folder with the archive's name. Zips
    (whole or split) and plain tars are read in place. Compressed tars and 7z are unpacked into
    `scratch` once, since they have no random access. Excluded files are reported by name: damaged
    archives, links unless `follow_links`, pipes and devices, folders that cannot be listed.

    files: FileRef by name. excluded: reason by name. aliases: links to folders that are indexed
    under another name. allow_outside: whether tables may name files outside the folder. log:
    receives one line for each archive that is unpacked. tick: called for each file. Raises
    InputError if the folder does not exist.
    """

    def __init__(
        self,
        folder,
        scratch,
        report: Report,
        log: Callable[[str], None] | None = None,
        *,
        follow_links: bool = False,
        allow_outside: bool = False,
        tick: Callable[[], object] | None = None,
    ):
        self.folder, self.scratch, self.report = Path(folder), Path(scratch), report
        self.log, self.tick = log or (lambda text: None), tick or (lambda: None)
        self.allow_outside = allow_outside
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; put the corpus' files there")
        self.files: dict[str, FileRef] = {}
        self.excluded: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self._by_ending: dict[tuple[int, bool], dict[str, list[str]]] = {}
        self._walk(self.folder, "", follow_links)

    @functools.cached_property
    def depth(self) -> int:
        """The largest number of components in a name."""
        return max((name.count("/") + 1 for name in self.files), default=0)

    def ending_with(self, tail: str, fold: bool = False) -> list[str]:
        """Names whose last components are `tail`, those nearest to the folder first.

        fold: ignore case.
        """
        count = tail.count("/") + 1
        if count > self.depth:
            return []
        if (count, fold) not in self._by_ending:
            names = [n for n in self.files if n.count("/") + 1 >= count]
            names.sort(key=lambda n: (n.count("/"), len(n), n))
            ends = ("/".join(n.split("/")[-count:]) for n in names)
            keys = (end.casefold() if fold else end for end in ends)
            self._by_ending[count, fold] = _group(names, keys)
        return self._by_ending[count, fold].get(tail.casefold() if fold else tail, [])

    def resolve_link(self, name: str) -> str:
        """The name in the index of a file behind a link to a folder."""
        parts, depth = name.split("/"), 1
        while depth < len(parts):
            if (target := self.aliases.get("/".join(parts[:depth]))) is None:
                depth += 1
            else:
                parts = [*target.split("/"), *parts[depth:]] if target else parts[depth:]
                depth = max(1, target.count("/") + 1)
        return "/".join(parts)

    def exclusion_reason(self, name: str) -> str:
        """Why a file, or a folder above it, is excluded; "" if it is not."""
        parts = name.split("/")
        heads = itertools.accumulate(parts, lambda head, part: f"{head}/{part}")
        return next((self.excluded[head] for head in heads if head in self.excluded), "")

    @functools.cached_property
    def audio_by_stem(self) -> dict[str, list[str]]:
        """Names of audio and video files by their last component without suffix."""
        kinds = AUDIO_SUFFIXES | UNSUPPORTED_SUFFIXES
        names = [n for n in self.files if PurePosixPath(n).suffix.lower() in kinds]
        return _group(names, (PurePosixPath(name).stem for name in names))

    def matches(self, name: str) -> list[str]:
        """Names that equal `name`, or whose last components do, the nearest first.

        Where there is none: names that match in another case (`a.WAV`).
        """
        name = normalise_name(name)
        if name in self.files:
            return [name]
        if names := self.ending_with(name):
            return names
        names, depth = self.ending_with(name, fold=True), name.count("/")
        return list(itertools.takewhile(lambda n: n.count("/") == depth, names)) or names

    def sibling(self, name: str, suffix: str) -> str | None:
        """The name of the file with the same stem and another suffix, in any case; else None."""
        stem = name.rpartition(".")[0]
        if stem + suffix in self.files:
            return stem + suffix
        names = self.ending_with(stem + suffix, fold=True)
        return next((n for n in names if n.rpartition(".")[0] == stem), None)

    def glob(self, pattern: str) -> list[str]:
        """Names that match a pattern such as `json_files/*.json`, below any folder, sorted."""
        match = fnmatch.fnmatchcase
        return sorted(n for n in self.files if match(n, pattern) or match(n, "*/" + pattern))

    def find(self, name: str) -> FileRef | None:
        """Returns the file of that name that is nearest to the folder; None if there is none."""
        names = self.matches(name)
        return self.files[names[0]] if names else None

    def require(self, name: str) -> bytes:
        """Reads a metadata file. Raises InputError if it is missing or not readable."""
        if not (file := self.find(name)):
            raise InputError(
                f"{self.folder}: {name} is not there, nor in an archive there (see the README)"
            )
        try:
            return file.read()
        except Unreadable as error:
            raise InputError(f"{self.folder}: {name}: {error}") from None

    def _walk(self, folder: Path, prefix: str, follow_links: bool) -> None:
        """Indexes all files below a folder. prefix: of their names."""
        # Links to folders wait until all folders are read: a folder's own name has priority.
        waiting, links, prefixes = [(folder, prefix)], [], {}
        while waiting or links:
            folder, prefix = waiting.pop() if waiting else links.pop()
            try:
                info = os.stat(folder)
                listing = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self._exclude(prefix or str(folder), f"cannot be listed ({error.strerror})")
                continue
            first = prefixes.setdefault((info.st_dev, info.st_ino), prefix)
            if first != prefix:
                above = prefix.startswith(first)
                self.report.skip(prefix, "link to a folder above it" if above else AGAIN)
                self.aliases[prefix[:-1]] = first[:-1]
                continue
            folders = [
                pair for entry in listing if (pair := self._add_entry(entry, prefix, follow_links))
            ]
            for linked, pairs in ((False, waiting), (True, links)):
                pairs += [p for p in reversed(folders) if p[0].is_symlink() == linked]

    def _add_entry(
        self, entry: os.DirEntry, prefix: str, follow_links: bool
    ) -> tuple[Path, str] | None:
        """Indexes or excludes a file; returns (path, prefix) of a folder that is to be read."""
        name = prefix + normalise_name(entry.name)
        if _is_hidden(entry.name):
            self.excluded[name] = HIDDEN
        elif entry.is_symlink() and not follow_links:
            self._exclude(name, LINK)
        elif entry.is_dir():
            return Path(entry.path), f"{name}/"
        elif entry.is_file():
            self.tick()
            self.files[name] = FileRef(entry.path)
            self._add_archive(Path(entry.path), f"{name}/")
        else:
            self._exclude(name, "no ordinary file (pipe, socket, device, broken link)")
        return None

    def _exclude(self, name: str, reason: str) -> None:
        self.excluded[name.rstrip("/")] = reason
        self.report.skip(name, reason)

    def _add_archive(self, path: Path, prefix: str) -> None:
        """Indexes an archive's members; does nothing for other files."""
        name = path.name.lower()
        try:
            if name.endswith(".zip"):
                self._add_members(archives.zip_members(open_zip(str(path)), str(path)), prefix)
            elif name.endswith(".tar"):
                self._add_members(archives.tar_members(path), prefix)
            elif name.endswith(archives.PACKED_SUFFIXES):
                folder = archives.unpack(path, self.scratch, self.log, self.report)
                # Links that an archive made may lead anywhere.
                self._walk(folder, prefix, follow_links=False)
        except InputError:
            raise
        except Exception as error:  # archives raise many kinds for damage
            self._exclude(prefix[:-1], f"damaged archive ({error_reason(error)})")

    def _add_members(self, members: Iterator[tuple[str, FileRef | str]], prefix: str) -> None:
        """Indexes members; a str in place of a file is the reason to exclude it."""
        for name, file in members:
            if any(_is_hidden(part) for part in name.split("/")):
                self.excluded[prefix + name] = HIDDEN
                continue
            self.tick()
            if isinstance(file, str):
                self._exclude(prefix + name, file)
            else:
                self.files[prefix + name] = file


def _is_hidden(name: str) -> bool:
    """Whether a name is one that systems and downloads leave behind."""
    return (name.startswith(".") and name != "..") or name == "__MACOSX" or name.endswith(".part")


def _group(names: Iterable[str], keys: Iterable[str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name, key in zip(names, keys):
        groups[key].append(name)
    return groups
