"""Soundscapes: the synthetic corpus that `audioldm2-jax soundscapes` writes."""

from audioldm2_jax.data.corpus.corpus_builder import Corpus
from audioldm2_jax.data.ingest.clip_record import Entry
from audioldm2_jax.data.ingest.tables import rows


class Builder(Corpus):
    """Splits train and, one clip in fifty, validation."""

    LICENSE = "Apache 2.0"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "What `audioldm2-jax soundscapes DST` wrote."

    def entries(self, shelf, report):
        splits = {"train": [], "validation": []}
        for index, row in enumerate(rows(shelf.need("metadata.jsonl"), "metadata.jsonl")):
            entry = Entry(
                row["wav"],
                shelf.place(row["wav"]),
                captions=(row["caption_1"], row["caption_2"]),
                labels=tuple(row["labels"]),
                transcript=row["transcript"] or "",
                extra={"kind": row["kind"], "events": row["events"]},
            )
            splits["validation" if index % 50 == 49 else "train"].append(entry)
        return splits
