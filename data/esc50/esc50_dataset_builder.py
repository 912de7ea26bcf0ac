"""ESC-50: 2000 clips of 5 s in 50 classes, in five folds."""

from audioldm2_jax.data.corpus.corpus_builder import Corpus
from audioldm2_jax.data.ingest.clip_record import Entry
from audioldm2_jax.data.ingest.tables import rows


class Builder(Corpus):
    """A split for each fold; `fold1+fold2` reads several."""

    HOMEPAGE = "https://github.com/karolpiczak/ESC-50"
    LICENSE = "CC BY-NC 3.0 (its subset ESC-10: CC BY 3.0)"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "ESC-50-master.zip, or the folder unpacked from it."

    def entries(self, shelf, report):
        splits = {}
        for row in rows(shelf.need("meta/esc50.csv"), "esc50.csv"):
            entry = Entry(
                row["filename"],
                shelf.place(f"audio/{row['filename']}"),
                labels=(row["category"].replace("_", " "),),
                extra={"target": int(row["target"]), "esc10": row["esc10"] == "True"},
            )
            splits.setdefault(f"fold{row['fold']}", []).append(entry)
        return splits
