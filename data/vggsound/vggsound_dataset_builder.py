"""VGGSound: 200 thousand clips of 10 s in 309 classes."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord, find_youtube
from audioldm2_jax.data.ingest.tables import read_table

COLUMNS = ["youtube_id", "start", "label", "split"]


class Builder(CorpusBuilder):
    """The published table beside audio from another source."""

    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/vggsound"
    LICENSE = "labels: CC BY 4.0; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "vggsound.csv, and the audio in any folder, zip or tar."

    def clips(self, index, report):
        splits = {}
        for row in read_table(index.require("vggsound.csv"), "vggsound.csv", COLUMNS):
            video, start = row["youtube_id"], int(row["start"])
            clip = ClipRecord(
                f"{video}_{start:06d}",
                find_youtube(index, video, start, start + 10),
                labels=(row["label"],),
                extra={"youtube_id": video, "start": start},
            )
            splits.setdefault(row["split"], []).append(clip)
        return splits
