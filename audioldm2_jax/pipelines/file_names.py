"""Names of generated files: safe, distinct on every file system, and short enough.

A clip is written as STEM.wav (or another kind of sound) with STEM.json and perhaps STEM.png beside,
so clips of one folder are told apart by their stems.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from audioldm2_jax.audio import FORMATS
from audioldm2_jax.errors import InputError

RECORD, PICTURE = ".json", ".png"
LONGEST = 255  # bytes of a file name on Linux, macOS and, in letters, Windows
# An automatic name: room for a number and a suffix, also on encrypted file systems (143 bytes).
LETTERS, BYTES = 80, 120
# Devices on Windows, whatever their suffix.
RESERVED = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(10)}


def split(name: str, suffix: str = ".wav") -> tuple[str, str]:
    """(stem, suffix as given) of a file name; `suffix` where it names no kind of sound."""
    for known in FORMATS:
        if name.lower().endswith(known):
            return name[: -len(known)], name[-len(known) :]
    return name, suffix


def beside(path: Path, suffix: str) -> Path:
    """The path of a sound file's record or picture."""
    return path.with_name(split(path.name)[0] + suffix)


def check_name(name: str, suffix: str = ".wav") -> str:
    """The file's name with its suffix. Raises InputError if it cannot be a file's name."""
    if not isinstance(name, str):
        raise InputError(f"the file name {name!r} must be a text")
    stem, suffix = split(name.strip(), suffix)
    stem = stem.strip()
    if not stem:
        raise InputError(f"the file name {name!r} is empty")
    if stem != Path(stem).name or stem in (".", "..") or "\\" in stem:
        raise InputError(f"the file name {name!r} must not hold a path")
    if any(unicodedata.category(letter) == "Cc" for letter in stem):
        raise InputError(f"the file name {name!r} must not hold control characters")
    longest = max((suffix, RECORD, PICTURE), key=len)
    try:
        size = len(os.fsencode(stem + longest))
    except UnicodeEncodeError:
        raise InputError(f"the file name {name!r} cannot be written on this system") from None
    if size > LONGEST:
        short = f"{stem[:20]}...{longest}"
        raise InputError(f"the file name {short!r} has {size} bytes, at most {LONGEST} can be used")
    return stem + suffix


def check_names(names: Iterable[str], suffix: str = ".wav") -> list[str]:
    """Each name with its suffix. Raises InputError for one that cannot be used, or two alike."""
    checked, stems = [], {}
    for name in names:
        whole = check_name(name, suffix)
        key = identity(split(whole)[0])
        if key in stems:
            raise InputError(
                f"the file name {name!r} stands twice: {stems[key]!r} is the same file, here "
                "or on other systems"
            )
        stems[key] = name
        checked.append(whole)
    return checked


def identity(stem: str) -> str:
    """A key that is equal for stems that some file system takes for the same one.

    Canonical caseless matching (Unicode 3.13, D145) without invisible format characters.
    """
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", stem).casefold())
    return "".join(c for c in folded if unicodedata.category(c) != "Cf").rstrip(". ")


def file_stem(prompt: str) -> str:
    """A safe name for a prompt: its letters and digits in any script, - and _; at most 120 bytes.

    Without any letter or digit it is "clip".
    """
    text = unicodedata.normalize("NFC", prompt)
    safe = "".join(c if c == "-" or unicodedata.category(c)[0] in "LNM" else " " for c in text)
    stem = "_".join(safe.split()).strip("_-")[:LETTERS]
    while len(stem.encode("utf-8", "replace")) > BYTES:
        stem = stem[:-1]
    stem = stem.rstrip("_-") or "clip"
    return f"{stem}_" if stem.lower() in RESERVED else stem


def speech_stem(voice: str, transcription: str) -> str:
    """A safe name for a transcription and its voice."""
    return file_stem(f"{file_stem(voice)[:38].rstrip('_-')}-TTS-{transcription}")


def free_name(stem: str, taken: Collection[str]) -> str:
    """The stem, with a number appended if its identity is among `taken`."""
    number, name = 1, stem
    while identity(name) in taken:
        number += 1
        name = f"{stem}_{number}"
    return name


def taken_in(folder: Path) -> set[str]:
    """Identities of the stems of all clips in a folder and of what lies beside them."""
    if not folder.is_dir():
        return set()
    names = os.listdir(folder)
    stems = (split(name)[0] if split(name, "")[1] else name for name in names)
    return {identity(s.removesuffix(RECORD).removesuffix(PICTURE)) for s in stems}
