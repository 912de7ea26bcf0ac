"""UrbanSound8K: 8732 clips of at most 4 s in 10 classes, in ten folds."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table


class Builder(CorpusBuilder):
    """A split for each fold; the authors ask users to keep the folds."""

    HOMEPAGE = "https://urbansounddataset.weebly.com/urbansound8k.html"
    LICENSE = "CC BY-NC 3.0"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "UrbanSound8K.tar.gz, or the folder unpacked from it."

    def clips(self, index, report):
        splits = {}
        for row in read_table(index.require("metadata/UrbanSound8K.csv"), "UrbanSound8K.csv"):
            name = row["slice_file_name"]
            clip = ClipRecord(
                name,
                index.find(f"fold{row['fold']}/{name}"),
                labels=(row["class"].replace("_", " "),),
                extra={
                    "target": int(row["classID"]),
                    "freesound": row["fsID"],
                    "foreground": row["salience"] == "1",
                },
            )
            splits.setdefault(f"fold{row['fold']}", []).append(clip)
        return splits
