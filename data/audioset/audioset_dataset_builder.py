"""AudioSet: two million clips of 10 s with labels out of 527."""

from audioldm2_jax.data.corpus.corpus_builder import Corpus
from audioldm2_jax.data.ingest.clip_record import Entry, youtube
from audioldm2_jax.data.ingest.tables import rows

TABLES = {
    "balanced_train": "balanced_train_segments.csv",
    "unbalanced_train": "unbalanced_train_segments.csv",
    "eval": "eval_segments.csv",
}
COLUMNS = ["YTID", "start_seconds", "end_seconds", "positive_labels"]


class Builder(Corpus):
    """The published tables beside audio that you obtained yourself."""

    HOMEPAGE = "https://research.google.com/audioset"
    LICENSE = "labels: CC BY 4.0; ontology: CC BY-SA 4.0; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "class_labels_indices.csv, any of the three tables of segments, and the audio in any "
        "folder, zip or tar."
    )

    def entries(self, shelf, report):
        classes = rows(shelf.need("class_labels_indices.csv"), "class_labels_indices.csv")
        names = {row["mid"]: row["display_name"] for row in classes}
        return {
            split: segments(shelf, data, table, names)
            for split, table, data in self.tables(shelf, report, TABLES)
        }


def segments(shelf, data, table, names):
    # Three lines of comments come first, the columns' names in the last of them.
    for row in rows(data, table, COLUMNS, comment="#"):
        video, start = row["YTID"], float(row["start_seconds"])
        mids = [mid for mid in row["positive_labels"].split(",") if mid]
        yield Entry(
            f"{video}_{start:g}",
            youtube(shelf, video, start, float(row["end_seconds"])),
            labels=tuple(names.get(mid, mid) for mid in mids),
            extra={"youtube_id": video, "start_seconds": start, "mids": mids},
        )
