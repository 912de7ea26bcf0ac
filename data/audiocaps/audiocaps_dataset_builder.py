"""AudioCaps: captioned clips of 10 s out of AudioSet; five captions in validation and test."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord, find_audio, find_youtube
from audioldm2_jax.data.ingest.tables import read_table

TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}


class Builder(CorpusBuilder):
    """Tables of the authors' repository (1.0 or 2.0) beside audio from another source."""

    HOMEPAGE = "https://audiocaps.github.io"
    LICENSE = "captions: MIT; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "train.csv, val.csv, test.csv, and the audio in any folder, zip or tar."
    )

    def clips(self, index, report):
        return {
            split: (clip_of(index, row) for row in read_table(data, table))
            for split, table, data in self.tables(index, report, TABLES)
        }


def clip_of(index, row):
    """A row's clip with its one caption."""
    video, start = row["youtube_id"], float(row["start_time"])
    file = find_youtube(index, video, start, start + 10) or find_audio(index, [row["audiocap_id"]])
    return ClipRecord(
        f"{video}_{start:g}",
        file,
        captions=(row["caption"].strip(),),
        extra={"audiocap_id": row["audiocap_id"], "youtube_id": video, "start_time": start},
    )
