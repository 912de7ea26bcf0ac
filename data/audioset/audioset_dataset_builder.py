"""AudioSet: two million clips of 10 s with labels out of 527."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord, find_youtube
from audioldm2_jax.data.ingest.tables import read_table

TABLES = {
    "balanced_train": "balanced_train_segments.csv",
    "unbalanced_train": "unbalanced_train_segments.csv",
    "eval": "eval_segments.csv",
}
COLUMNS = ["YTID", "start_seconds", "end_seconds", "positive_labels"]


class Builder(CorpusBuilder):
    """The published tables beside audio from another source."""

    HOMEPAGE = "https://research.google.com/audioset"
    LICENSE = "labels: CC BY 4.0; ontology: CC BY-SA 4.0; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "class_labels_indices.csv, any of the three tables of segments, and the audio in any "
        "folder, zip or tar."
    )

    def clips(self, index, report):
        classes = read_table(index.require("class_labels_indices.csv"), "class_labels_indices.csv")
        names = {row["mid"]: row["display_name"] for row in classes}
        return {
            split: segments(index, data, table, names)
            for split, table, data in self.tables(index, report, TABLES)
        }


def segments(index, data, table, names):
    """Yields the clips of a table. names: of the labels by MID."""
    # Three comment lines come first; the last one holds the column names.
    for row in read_table(data, table, COLUMNS, comment="#"):
        video, start = row["YTID"], float(row["start_seconds"])
        mids = [mid for mid in row["positive_labels"].split(",") if mid]
        yield ClipRecord(
            f"{video}_{start:g}",
            find_youtube(index, video, start, float(row["end_seconds"])),
            labels=tuple(names.get(mid, mid) for mid in mids),
            extra={"youtube_id": video, "start_seconds": start, "mids": mids},
        )
