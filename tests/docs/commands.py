"""The commands and the Python that README.md and docs/*.md show, and what stands in at tiny size.

A new document is picked up by itself. Where one of its commands names something that must be
downloaded, or is large, add a line to the tables here.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

# Words of a command: what must be downloaded or is only a name, and what lies in the test's folder.
STANDS_FOR = {
    "cvssp/audioldm2": "tiny",
    "cvssp/audioldm2-large": "tiny",
    "cvssp/audioldm2-music": "tiny",
    "cvssp/audioldm-m-full": "tiny-audioldm",
    "cvssp/audioldm-s-full-v2": "tiny-audioldm",
    "ucsd-reach/musicldm": "tiny-audioldm",
    "anhnct/audioldm2_gigaspeech": "tiny-speech",
    "MODEL": "start",
    "CHECKPOINT": "start",
    "CORPUS": "corpora/mine",
    "DOWNLOADS": "downloads",
    "DST": "corpora/another",
    "TEXT": "a dog barks",
    "...": "a dog barks",
}
ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
# An ellipsis for more options.
MORE = {"train": ["--config.data.sources=corpora/mine"]}

# What makes a command tiny: options behind its own.
SMALL = {
    "generate": ["-q", "-dur", "0.64", "--steps", "1", "-d", "cpu"],
    "prepare": ["-q"],
    "encode": ["-q", "-dur", "1.28", "--text_length", "32"],
    "soundscapes": ["-q", "--count", "3"],
    "train": [
        *("-q", "--config.batch=8", "--config.steps=1", "--config.data.seconds=1.28"),
        *("--config.dtype=fp32", "--config.data.text_length=32", "--config.optim.warmup=0"),
        "--config.sample.every=0",
    ],
    "doctor": ["--quick"],
    "convert": ["--tokenizers", "tiny"],
}
# Options above that a command line gives already, or that do not go with it.
EXCLUDED = {
    "soundscapes": {"--examples": ["--count", "3"]},
    "train": {"--config.sample.prompts": ["--config.sample.every=0"]},
}
# Commands that are only parsed: their work is large whatever the options are, and is tested apart.
PARSED = ("evaluate", "rehearse", "reproduce", "serve", "tokenize")


@dataclass(frozen=True)
class Line:
    """A command of a document, as it is printed: its number of line, and its words."""

    document: str
    number: int
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.document}:{self.number}: {shlex.join(self.words)}"


def blocks(document: Path, language: str) -> list[tuple[int, str]]:
    """(line of its first line, text) of the fenced blocks of a language."""
    text, results = document.read_text(encoding="utf-8"), []
    for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        results.append((text[: match.start(1)].count("\n") + 1, match[1]))
    return results


def lines(document: Path) -> list[Line]:
    """All commands of the document's bash blocks; a backslash goes on on the next line."""
    results = []
    for first, text in blocks(document, "bash"):
        pending, begin = "", None
        for number, line in enumerate(text.split("\n"), first):
            begin = number if begin is None else begin
            if line.endswith("\\"):
                pending += line[:-1] + " "
                continue
            words = shlex.split(pending + line, comments=True)
            # A line that only sets variables of the shell is no command.
            if any(not ASSIGNMENT.fullmatch(word) for word in words):
                name = str(document.relative_to(ROOT))
                results.append(Line(name, begin, tuple(words)))
            pending, begin = "", None
    return results


def tiny(words: tuple[str, ...]) -> list[str]:
    """The arguments of `audioldm2-jax` behind its name, at tiny size."""
    command, *rest = words[1:]
    arguments = [command]
    for word in rest:
        if word == "..." and command in MORE:
            arguments += MORE[command]
            continue
        name, equals, value = word.rpartition("=")
        arguments.append(f"{name}{equals}{STANDS_FOR.get(value, value)}")
    extra = list(SMALL.get(command, []))
    for option, unwanted in EXCLUDED.get(command, {}).items():
        if any(word.partition("=")[0] == option for word in rest):
            extra = [word for word in extra if word not in unwanted]
    return arguments + extra
