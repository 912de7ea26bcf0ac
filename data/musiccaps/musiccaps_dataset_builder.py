"""MusicCaps: 5521 clips of 10 s of music, described by musicians."""

import ast

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord, find_youtube
from audioldm2_jax.data.ingest.tables import read_table


class Builder(CorpusBuilder):
    """Splits as AudioSet's: train, and eval, on which systems are compared.

    The aspects are the labels.
    """

    HOMEPAGE = "https://www.kaggle.com/datasets/googleai/musiccaps"
    LICENSE = "captions: CC BY-SA 4.0; audio: of the videos' owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "musiccaps-public.csv, and the audio in any folder, zip or tar."

    def clips(self, index, report):
        splits = {"train": [], "eval": []}
        for row in read_table(index.require("musiccaps-public.csv"), "musiccaps-public.csv"):
            video, start = row["ytid"], float(row["start_s"])
            clip = ClipRecord(
                f"{video}_{start:g}",
                find_youtube(index, video, start, float(row["end_s"])),
                captions=(row["caption"].strip(),),
                labels=aspects(row["aspect_list"]),
                extra={
                    "youtube_id": video,
                    "mids": row["audioset_positive_labels"].split(","),
                    "balanced": row["is_balanced_subset"] == "True",
                },
            )
            splits["eval" if row["is_audioset_eval"] == "True" else "train"].append(clip)
        return splits


def aspects(text):
    """Parses the aspects, a Python list of strings in the table; anything else is one aspect."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else (str(value),)
