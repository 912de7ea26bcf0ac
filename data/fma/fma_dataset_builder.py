"""FMA: tracks of the Free Music Archive with their genres; no captions."""

import ast
import csv
import io

import tensorflow_datasets as tfds

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table
from audioldm2_jax.errors import InputError

# Each set holds those before it; `full` has the tracks of `large` uncut.
SUBSETS = {
    "small": ("small",),
    "medium": ("small", "medium"),
    "large": ("small", "medium", "large"),
    "full": ("small", "medium", "large"),
}


class Builder(CorpusBuilder):
    """Splits training, validation and test as published; genres are the labels."""

    HOMEPAGE = "https://github.com/mdeff/fma"
    LICENSE = "metadata: CC BY 4.0; audio: CC of each track"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "fma_metadata.zip and fma_small.zip (medium, large, full), or unpacked."
    )
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in SUBSETS]

    def clips(self, index, report):
        size = self.builder_config.name
        genres = read_table(index.require("genres.csv"), "genres.csv")
        titles = {row["genre_id"]: row["title"] for row in genres}
        splits = {}
        for row in tracks(index.require("tracks.csv")):
            if row["set", "subset"] in SUBSETS[size]:
                split = row["set", "split"]
                splits.setdefault(split, []).append(clip_of(index, row, size, titles))
        return splits


def tracks(data):
    """Yields the rows of tracks.csv by (group, name). Raises InputError for another header."""
    table = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
    groups, names, first = next(table, []), next(table, []), next(table, [])
    columns = list(zip(groups, names))
    if first[:1] != ["track_id"] or ("set", "split") not in columns:
        raise InputError("tracks.csv: FMA's header of three lines is expected")
    columns[0] = ("track", "id")
    return (dict(zip(columns, row)) for row in table)


def clip_of(index, row, size, titles):
    """A row's clip. size: the subset. titles: of the genres by id."""
    name = f"{int(row['track', 'id']):06d}"
    file = f"{name[:3]}/{name}.mp3"
    genres = ast.literal_eval(row["track", "genres_all"] or "[]")
    return ClipRecord(
        name,
        index.find(f"fma_{size}/{file}") or index.find(file),
        labels=tuple(titles.get(str(genre), str(genre)) for genre in genres),
        extra={
            "title": row["track", "title"],
            "artist": row["artist", "name"],
            "genre": row["track", "genre_top"],
            "license": row["track", "license"],
        },
    )
