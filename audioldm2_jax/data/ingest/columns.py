"""Columns of a table of captions: which column holds what, and a row's values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from audioldm2_jax.errors import InputError

# Common names of these columns, in the order of preference.
FILE = "file_name wav file filename audio path audio_path audio_file file_path filepath location"
FILE += " slice_file_name uniq_id"
CAPTIONS = "text description prompt sentence_description"
LABELS = "labels label tags category class genre"
TRANSCRIPT = "transcript transcription sentence normalized_text text_normalized"
SPLIT = "split set"


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns. `resolve` replaces None by the column with a common name."""

    file: str | None = None
    captions: tuple[str, ...] | None = None
    labels: str | None = None
    transcript: str | None = None
    split: str | None = None

    def resolve(self, names: Sequence[str], where: str) -> Columns:
        """Resolves all columns of a table with the columns `names`. where: for error messages.

        Caption columns are those whose name contains "caption", as in the authors' training
        repository, else the first of `text description prompt`. Raises InputError if a column is
        missing, or if no column names the files.
        """
        requested = [self.file, *(self.captions or ()), self.labels, self.transcript, self.split]
        for name in filter(None, requested):
            if name not in names:
                raise InputError(f"{where}: no column {name!r}; it has {', '.join(names)}")
        file = self.file or _first(FILE, names)
        if not file:
            raise InputError(
                f"{where}: no column names the audio files; name it with --file_column "
                f"(columns: {', '.join(names)})"
            )
        captions = self.captions
        if captions is None:
            captions = tuple(n for n in names if "caption" in n.lower() and not n.endswith("_id"))
            captions = captions or tuple(filter(None, [_first(CAPTIONS, names)]))
        return dataclasses.replace(
            self,
            file=file,
            captions=captions,
            labels=self.labels or _first(LABELS, names),
            transcript=self.transcript or _first(TRANSCRIPT, names),
            split=self.split or _first(SPLIT, names),
        )

    def fields(self, row: dict) -> dict:
        """A row's `captions`, `labels`, `transcript` and other values (`extra`)."""
        used = {self.file, *self.captions, self.labels, self.transcript, self.split}
        return {
            "captions": tuple(t for name in self.captions for t in cell_texts(row.get(name))),
            "labels": tuple(label for t in cell_texts(row.get(self.labels)) for label in _split(t)),
            "transcript": next(iter(cell_texts(row.get(self.transcript))), ""),
            "extra": {k: v for k, v in row.items() if k not in used and _is_plain(v)},
        }


# Every column by its common names.
AUTO = Columns()


def _first(candidates: str, names: Sequence[str]) -> str | None:
    by_lower_case = {name.lower(): name for name in reversed(names)}
    return next((by_lower_case[c] for c in candidates.split() if c in by_lower_case), None)


def cell_texts(value) -> list[str]:
    """The texts of a cell that holds one or a list: stripped, without empty and non-text values."""
    values = value if isinstance(value, (list, tuple)) else [value]
    values = [v for v in values if isinstance(v, (str, int, float)) and not isinstance(v, bool)]
    # Tables that pandas exports hold NaN for an empty cell.
    texts = [str(v).strip().strip("\ufeff").strip() for v in values if v == v]
    return [text for text in texts if text]


def _split(text: str) -> list[str]:
    return [label.strip() for label in re.split(r"[,;|]", text) if label.strip()]


def _is_plain(value) -> bool:
    return isinstance(value, (str, int, float, bool)) and value == value and value != ""
