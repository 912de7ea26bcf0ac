"""ESC-50: 2000 clips of 5 s in 50 classes, in five folds."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table


class Builder(CorpusBuilder):
    """A split for each fold; `fold1+fold2` reads several."""

    HOMEPAGE = "https://github.com/karolpiczak/ESC-50"
    LICENSE = "CC BY-NC 3.0 (its subset ESC-10: CC BY 3.0)"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "ESC-50-master.zip, or the folder unpacked from it."

    def clips(self, index, report):
        splits = {}
        for row in read_table(index.require("meta/esc50.csv"), "esc50.csv"):
            clip = ClipRecord(
                row["filename"],
                index.find(f"audio/{row['filename']}"),
                labels=(row["category"].replace("_", " "),),
                extra={"target": int(row["target"]), "esc10": row["esc10"] == "True"},
            )
            splits.setdefault(f"fold{row['fold']}", []).append(clip)
        return splits
