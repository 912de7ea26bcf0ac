"""Lists of evaluation clips of our own, where a paper's are unpublished.

A clip's place in the order follows from its name and the seed alone, so that a list does not depend
on the order of a table or on clips that are missing, and a shorter list is the start of a longer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from audioldm2_jax.data.ingest.tables import read_table
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.tables import Corpus

SEED = 0
Item = TypeVar("Item")
# Published metadata: its table, and the columns of name, split and label.
METADATA = {
    "esc50": ("filename", "fold", "category"),
    "urbansound8k": ("slice_file_name", "fold", "class"),
}


def rank(name: str, seed: int = SEED) -> bytes:
    """The key that clips are drawn by: SHA-256 of seed and name."""
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()


def select(
    items: Iterable[Item],
    corpus: Corpus,
    *,
    name: Callable[[Item], str],
    labels: Callable[[Item], Sequence[str]],
    limit: int | None = None,
    seed: int = SEED,
) -> list[Item]:
    """The corpus' evaluation clips, in the order in which they are drawn.

    name, labels: of an item. limit: only the first of them. `random` draws `count` clips,
    `stratified` `count` of each first label; where there are fewer, all are taken.
    """
    drawn = sorted(items, key=lambda item: (rank(name(item), seed), name(item)))
    if corpus.selection == "random":
        drawn = drawn[: corpus.count]
    elif corpus.selection == "stratified":
        counts: dict[str, int] = {}
        chosen = []
        for item in drawn:
            label = next(iter(labels(item)), "")
            counts[label] = counts.get(label, 0) + 1
            if counts[label] <= corpus.count:
                chosen.append(item)
        drawn = chosen
    return drawn[:limit]


def published_list(table: bytes, corpus: Corpus, *, limit: int | None = None) -> list[str]:
    """The names of the evaluation clips from a corpus' published metadata, without its audio.

    table: meta/esc50.csv or metadata/UrbanSound8K.csv. Raises InputError for another corpus or
    table.
    """
    if corpus.name not in METADATA:
        raise InputError(f"corpus {corpus.name}: lists are made of {' and '.join(METADATA)} only")
    name, fold, label = METADATA[corpus.name]
    splits = corpus.split.split("+")
    try:
        rows = [r for r in read_table(table, "metadata.csv") if f"fold{r[fold]}" in splits]
        rows = [(row[name], row[label].replace("_", " ")) for row in rows]
    except KeyError as error:
        raise InputError(f"corpus {corpus.name}: its table has no column {error}") from None
    chosen = select(
        rows, corpus, name=lambda row: row[0], labels=lambda row: (row[1],), limit=limit
    )
    return [row[0] for row in chosen]


def prompt_of(
    template: str, *, caption: str = "", labels: Sequence[str] = (), transcript: str = ""
) -> str:
    """A clip's text: the template with its {caption}, {labels} (with commas) and {transcript}."""
    return template.format(caption=caption, labels=", ".join(labels), transcript=transcript).strip()
