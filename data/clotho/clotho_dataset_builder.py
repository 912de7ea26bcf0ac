"""Clotho 2.1: clips of 15 to 30 s with five captions each."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table

SPLITS = ("development", "validation", "evaluation")


class Builder(CorpusBuilder):
    """Captions and audio of each split that is there; keywords become labels."""

    HOMEPAGE = "https://zenodo.org/record/4783391"
    LICENSE = "audio: CC of each clip (freesound); captions: Tampere University, non-commercial"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "clotho_audio_SPLIT.7z and clotho_captions_SPLIT.csv, and clotho_metadata_SPLIT.csv where "
        "keywords are wanted, for SPLIT development, validation, evaluation."
    )

    def clips(self, index, report):
        tables = {split: f"clotho_captions_{split}.csv" for split in SPLITS}
        return {
            split: split_clips(index, split, read_table(data, table))
            for split, table, data in self.tables(index, report, tables)
        }


def split_clips(index, split, table):
    """Yields the clips of a split from its table of captions."""
    metadata = read_metadata(index, split)
    for row in table:
        name, known = row["file_name"], metadata.get(row["file_name"], {})
        words = known.get("keywords", "").split(";")
        yield ClipRecord(
            name,
            index.find(f"{split}/{name}") or index.find(name),
            captions=tuple(row[f"caption_{i}"].strip() for i in range(1, 6)),
            labels=tuple(word.strip() for word in words if word.strip()),
            extra={key: known[key] for key in ("sound_id", "license") if known.get(key)},
        )


def read_metadata(index, split):
    """Each file's metadata, {} without a table. Unlike the captions' tables, it is Latin-1."""
    name = f"clotho_metadata_{split}.csv"
    if not index.matches(name):
        return {}
    table = read_table(index.require(name), name, encoding="latin-1")
    return {row["file_name"]: row for row in table}
