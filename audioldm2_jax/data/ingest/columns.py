"""Which values of a table's row mean what."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from audioldm2_jax.errors import InputError

# Names in use for these columns, in the order they are looked for.
FILE = "file_name wav file filename audio path audio_path audio_file file_path filepath location"
FILE += " slice_file_name uniq_id"
CAPTIONS = "text description prompt sentence_description"
LABELS = "labels label tags category class genre"
TRANSCRIPT = "transcript transcription sentence normalized_text text_normalized"
SPLIT = "split set"


@dataclass(frozen=True)
class Columns:
    """Columns by name; what is None is recognised by the names in use (see `recognised`)."""

    file: str | None = None
    captions: tuple[str, ...] | None = None
    labels: str | None = None
    transcript: str | None = None
    split: str | None = None

    def recognised(self, names: Sequence[str], where: str) -> Columns:
        """All columns of a table that has `names`.

        Captions are all whose name contains "caption", as in the authors' training repository, else
        the first of `text description prompt`. Raises InputError if a named column is not there, or
        none names the files.
        """
        given = [self.file, *(self.captions or ()), self.labels, self.transcript, self.split]
        for name in filter(None, given):
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

    def facts(self, row: dict) -> dict:
        """captions, labels, transcript and the rest (`extra`) of a row."""
        used = {self.file, *self.captions, self.labels, self.transcript, self.split}
        return {
            "captions": tuple(t for name in self.captions for t in cell_texts(row.get(name))),
            "labels": tuple(label for t in cell_texts(row.get(self.labels)) for label in _split(t)),
            "transcript": next(iter(cell_texts(row.get(self.transcript))), ""),
            "extra": {k: v for k, v in row.items() if k not in used and _plain(v)},
        }


# Every column by the names in use.
AUTO = Columns()


def _first(candidates: str, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[c] for c in candidates.split() if c in lower), None)


def cell_texts(value) -> list[str]:
    """A value's texts: one or a list, without empty ones, surrounding space and what is no text."""
    values = value if isinstance(value, (list, tuple)) else [value]
    values = [v for v in values if isinstance(v, (str, int, float)) and not isinstance(v, bool)]
    # NaN is what tables exported by pandas hold where nothing was.
    found = [str(v).strip().strip("\ufeff").strip() for v in values if v == v]
    return [text for text in found if text]


def _split(text: str) -> list[str]:
    return [label.strip() for label in re.split(r"[,;|]", text) if label.strip()]


def _plain(value) -> bool:
    return isinstance(value, (str, int, float, bool)) and value == value and value != ""
