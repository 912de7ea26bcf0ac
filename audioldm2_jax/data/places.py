"""All files of a corpus' folder by name, those in its archives included."""

from __future__ import annotations

import fnmatch
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from audioldm2_jax.data import archives
from audioldm2_jax.data.place import AUDIO, OTHER_AUDIO, Place, Unreadable, open_zip, plain
from audioldm2_jax.data.report import Report, reason
from audioldm2_jax.errors import InputError

__all__ = ["AUDIO", "OTHER_AUDIO", "Place", "Shelf", "Unreadable", "plain"]

LINK = "link; --follow_links reads what it leads to"


class Shelf:
    """All files below a folder, those in archives included, by name.

    Zips (whole or split) and plain tars are read where they are; compressed tars and 7z, which can
    only be read from front to back, are unpacked into `scratch` once. Names are relative to the
    folder; an archive counts as a folder of its own name. What is left out (damaged archives, links
    unless `follow_links`, pipes and devices, folders that cannot be listed) is reported by name.
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
        self.files: dict[str, Place] = {}
        self._walk(self.folder, "", follow_links)

    @functools.cached_property
    def by_base(self) -> dict[str, list[str]]:
        """Names by their last component."""
        return _group(self.files, lambda name: name.rpartition("/")[2])

    @functools.cached_property
    def audio_by_stem(self) -> dict[str, list[str]]:
        """Names of audio (and video) files by their last component without its suffix."""
        kinds = AUDIO | OTHER_AUDIO
        names = [n for n in self.files if PurePosixPath(n).suffix.lower() in kinds]
        return _group(names, lambda name: PurePosixPath(name).stem)

    @functools.cached_property
    def folded(self) -> dict[str, list[str]]:
        """Names by their last component in small letters."""
        return _group(self.files, lambda name: name.rpartition("/")[2].casefold())

    def matches(self, name: str) -> list[str]:
        """Names that equal `name` or end with it as whole components, the shortest first.

        Where there is none, those that do in another case (`a.WAV`).
        """
        name = plain(name)
        if name in self.files:
            return [name]
        found = self.by_base.get(name.rpartition("/")[2], [])
        found = [n for n in found if n.endswith("/" + name)]
        if not found:
            name = name.casefold()
            found = self.folded.get(name.rpartition("/")[2], [])
            found = [n for n in found if f"/{n.casefold()}".endswith("/" + name)]
            top = [n for n in found if n.casefold() == name]
            found = top or found
        return sorted(found, key=lambda n: (len(n), n))

    def beside(self, name: str, suffix: str) -> str | None:
        """The file of `name`'s stem with another suffix, in any case of that; None without one."""
        stem = name.rpartition(".")[0]
        if stem + suffix in self.files:
            return stem + suffix
        found = self.folded.get(f"{stem.rpartition('/')[2]}{suffix}".casefold(), [])
        return next((n for n in found if n.rpartition(".")[0] == stem), None)

    def glob(self, pattern: str) -> list[str]:
        """Names that fit a pattern such as `json_files/*.json`, below any folder, sorted."""
        fits = fnmatch.fnmatchcase
        return sorted(n for n in self.files if fits(n, pattern) or fits(n, "*/" + pattern))

    def place(self, name: str) -> Place | None:
        """Where the file of that name is, the one nearest to the folder; None if there is none."""
        found = self.matches(name)
        return self.files[found[0]] if found else None

    def need(self, name: str) -> bytes:
        """A metadata file's bytes. Raises InputError if it is not there or not readable."""
        if not (place := self.place(name)):
            raise InputError(
                f"{self.folder}: {name} is not there, nor in an archive there (see the README)"
            )
        try:
            return place.read()
        except Unreadable as error:
            raise InputError(f"{self.folder}: {name}: {error}") from None

    def _walk(self, folder: Path, under: str, follow_links: bool) -> None:
        # (folder, its name here, the folders above it)
        waiting = [(folder, under, ())]
        while waiting:
            folder, under, above = waiting.pop()
            try:
                facts = os.stat(folder)
                listing = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self.report.skip(under or str(folder), f"cannot be listed ({error.strerror})")
                continue
            here = (facts.st_dev, facts.st_ino)
            if here in above:
                self.report.skip(under, "link to a folder above it")
                continue
            folders = []
            for entry in listing:
                name = under + plain(entry.name)
                if _hidden(entry.name):
                    continue
                if entry.is_symlink() and not follow_links:
                    self.report.skip(name, LINK)
                elif entry.is_dir():
                    folders.append((Path(entry.path), f"{name}/", (*above, here)))
                elif entry.is_file():
                    self.tick()
                    self.files[name] = Place(entry.path)
                    self._open(Path(entry.path), f"{name}/")
                else:
                    self.report.skip(name, "no ordinary file (pipe, socket, device, broken link)")
            waiting += reversed(folders)

    def _open(self, path: Path, under: str) -> None:
        """Adds an archive's members, if it is one."""
        name = path.name.lower()
        try:
            if name.endswith(".zip"):
                self._add(archives.zip_members(open_zip(str(path)), str(path)), under)
            elif name.endswith(".tar"):
                self._add(archives.tar_members(path), under)
            elif name.endswith(archives.PACKED):
                folder = archives.unpack(path, self.scratch, self.say, self.report)
                # Links of an archive's making lead wherever it likes.
                self._walk(folder, under, follow_links=False)
        except InputError:
            raise
        except Exception as error:  # archives raise many kinds for damage
            self.report.skip(under[:-1], f"damaged archive ({reason(error)})")

    def _add(self, members: Iterator[tuple[str, Place | str]], under: str) -> None:
        """Places by name; a str in a place's stead is the reason that there is none."""
        for name, place in members:
            if any(_hidden(part) for part in name.split("/")):
                continue
            self.tick()
            if isinstance(place, str):
                self.report.skip(under + name, place)
            else:
                self.files[under + name] = place


def _hidden(name: str) -> bool:
    """Names that systems and downloads leave behind."""
    return (name.startswith(".") and name != "..") or name == "__MACOSX" or name.endswith(".part")


def _group(names, key) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups
