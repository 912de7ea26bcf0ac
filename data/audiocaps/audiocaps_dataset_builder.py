"""AudioCaps: captioned clips of 10 s out of AudioSet; five captions in validation and test."""

from audioldm2_jax.data.corpus.corpus_builder import Corpus
from audioldm2_jax.data.ingest.clip_record import Entry, locate, youtube
from audioldm2_jax.data.ingest.tables import rows

TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}


class Builder(Corpus):
    """Tables of the authors' repository (1.0 or 2.0) beside audio that you obtained yourself."""

    HOMEPAGE = "https://audiocaps.github.io"
    LICENSE = "captions: MIT; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "train.csv, val.csv, test.csv, and the audio in any folder, zip or tar."
    )

    def entries(self, shelf, report):
        return {
            split: (entry(shelf, row) for row in rows(data, table))
            for split, table, data in self.tables(shelf, report, TABLES)
        }


def entry(shelf, row):
    """One caption of a clip."""
    video, start = row["youtube_id"], float(row["start_time"])
    place = youtube(shelf, video, start, start + 10) or locate(shelf, [row["audiocap_id"]])
    return Entry(
        f"{video}_{start:g}",
        place,
        captions=(row["caption"].strip(),),
        extra={"audiocap_id": row["audiocap_id"], "youtube_id": video, "start_time": start},
    )
