"""AudioCaps: captioned clips of 10 s out of AudioSet; five captions in validation and test."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord, find_audio, find_youtube
from audioldm2_jax.data.ingest.tables import read_table

TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}


class Builder(CorpusBuilder):
    """Tables of the authors' repository (1.0 or 2.0) beside audio that you obtained yourself."""

    HOMEPAGE = "https://audiocaps.github.io"
    LICENSE = "captions: MIT; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "train.csv, val.csv, test.csv, and the audio in any folder, zip or tar."
    )

    def clips(self, index, report):
        return {
            split: (entry(index, row) for row in read_table(data, table))
            for split, table, data in self.tables(index, report, TABLES)
        }


def entry(index, row):
    """One caption of a clip."""
    video, start = row["youtube_id"], float(row["start_time"])
    place = find_youtube(index, video, start, start + 10) or find_audio(index, [row["audiocap_id"]])
    return ClipRecord(
        f"{video}_{start:g}",
        place,
        captions=(row["caption"].strip(),),
        extra={"audiocap_id": row["audiocap_id"], "youtube_id": video, "start_time": start},
    )
