"""Prompts of a command line: one text, or a list in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from audioldm2_jax import files
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class Entry:
    """One prompt, and the name of its file with its suffix if the list gives one."""

    prompt: str
    name: str | None = None


def check_text(option: str, text: str) -> str:
    """Raises InputError for bytes of the command line that are not UTF-8."""
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise InputError(f"{option} {text!r}: not UTF-8; type it on a terminal set to UTF-8")
    return text


def read_list(path: str, suffix: str = ".wav") -> list[Entry]:
    """Reads a list of prompts: one on each line, optionally followed by `|NAME`.

    Only line feeds, carriage returns and both together end a line. suffix: of names without one.
    Raises InputError for a file that is no list, and for names that cannot be used or are alike.
    """
    from audioldm2_jax.pipelines.file_names import check_names

    entries = []
    for number, line in enumerate(re.split("\r\n|\n|\r", files.read_text(path)), 1):
        # Lists put together from several files hold byte-order marks within.
        line = line.lstrip("\ufeff").strip()
        if line:
            entries.append(_entry(line, f"{path}, line {number}"))
    if not entries:
        raise InputError(f"{path}: no prompts in it")
    named = [entry.name for entry in entries if entry.name is not None]
    if not named:
        return entries
    if len(named) < len(entries):
        raise InputError(f"{path}: name the files of all prompts or of none")
    try:
        names = check_names(named, suffix)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return [Entry(entry.prompt, name) for entry, name in zip(entries, names)]


def _entry(line: str, where: str) -> Entry:
    prompt, *names = (part.strip() for part in line.split("|"))
    if not prompt:
        raise InputError(f"{where}: the prompt is empty")
    if not names:
        return Entry(prompt)
    if len(names) > 1:
        raise InputError(f"{where}: more than one |; a line is PROMPT or PROMPT|NAME")
    if not names[0]:
        raise InputError(f"{where}: the file name behind | is empty")
    return Entry(prompt, names[0])
