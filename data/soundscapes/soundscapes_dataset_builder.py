"""Soundscapes: the synthetic corpus that `audioldm2-jax soundscapes` writes."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table


class Builder(CorpusBuilder):
    """Splits train and, one clip in fifty, validation."""

    LICENSE = "Apache 2.0"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "What `audioldm2-jax soundscapes DST` wrote."

    def clips(self, index, report):
        splits = {"train": [], "validation": []}
        for number, row in enumerate(read_table(index.require("metadata.jsonl"), "metadata.jsonl")):
            clip = ClipRecord(
                row["wav"],
                index.find(row["wav"]),
                captions=(row["caption_1"], row["caption_2"]),
                labels=tuple(row["labels"]),
                transcript=row["transcript"] or "",
                extra={"kind": row["kind"], "events": row["events"]},
            )
            splits["validation" if number % 50 == 49 else "train"].append(clip)
        return splits
