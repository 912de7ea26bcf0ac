"""The report of clips and files that were skipped, by name and reason."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.errors import printable

FILE = "skipped.jsonl"


def error_reason(error: Exception) -> str:
    """The first line of a library's error in at most 200 characters; its class if it is empty."""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{line[:197]}..." if len(line) > 200 else line or type(error).__name__


class Report:
    """Skipped items, and notes on items that are kept; each is a pair (name, reason)."""

    def __init__(self, skipped=(), notes=()):
        self.skipped: list[tuple[str, str]] = [tuple(pair) for pair in skipped]
        self.notes: list[tuple[str, str]] = [tuple(pair) for pair in notes]

    def skip(self, name: str, reason: str) -> None:
        """Records that `name` was left out."""
        self.skipped.append((name, reason))

    def note(self, name: str, reason: str) -> None:
        """Records something odd about `name`, which is kept."""
        self.notes.append((name, reason))

    def add(self, other: Report) -> None:
        """Appends all of another report."""
        self.skipped += other.skipped
        self.notes += other.notes

    def summary(self, examples: int = 3) -> list[str]:
        """One line for each reason, the most frequent first: its count and the first names."""
        lines = []
        for verb, pairs in (("skipped", self.skipped), ("kept", self.notes)):
            names = defaultdict(list)
            for name, reason in pairs:
                names[reason].append(name)
            for reason, group in sorted(names.items(), key=lambda item: -len(item[1])):
                more = ", ..." if len(group) > examples else ""
                first = ", ".join(group[:examples])
                lines.append(printable(f"{verb} {len(group)}, {reason}: {first}{more}"))
        return lines

    def reasons(self) -> str:
        """The summary in parentheses, to end an error message with; "" if nothing was skipped."""
        lines = self.summary()
        return f" ({'; '.join(lines[:3])}{'; ...' if len(lines) > 3 else ''})" if lines else ""

    def save(self, folder: Path) -> None:
        """Writes one line for each skipped item and each note to skipped.jsonl."""
        lines = []
        for is_kept, pairs in ((False, self.skipped), (True, self.notes)):
            for name, reason in pairs:
                line = {"name": name, "reason": reason} | ({"kept": True} if is_kept else {})
                lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        files.write_text(Path(folder) / FILE, "".join(lines))
