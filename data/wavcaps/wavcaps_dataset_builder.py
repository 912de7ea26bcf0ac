"""WavCaps: 400 thousand clips of Freesound, BBC Sound Effects, SoundBible and AudioSet.

Their captions were written by a language model from the sources' own descriptions.
"""

import json
from pathlib import PurePosixPath

import tensorflow_datasets as tfds

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table
from audioldm2_jax.errors import InputError

SOURCES = {
    "freesound": "FreeSound",
    "bbc_sound_effects": "BBC_Sound_Effects",
    "soundbible": "SoundBible",
    "audioset_sl": "AudioSet_SL",
}


class Builder(CorpusBuilder):
    """A split for each source.

    `without_evaluation` skips the clips that the published lists (blacklist/*.json) name: those
    also in AudioCaps, Clotho, ESC-50, UrbanSound8K or VGGSound.
    """

    HOMEPAGE = "https://huggingface.co/datasets/cvssp/WavCaps"
    LICENSE = "academic use only; the sources' own terms besides"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The hub repository's folders json_files/, Zip_files/ (split archives as they are) and, "
        "for the configuration without_evaluation, blacklist/."
    )
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="full"),
        tfds.core.BuilderConfig(name="without_evaluation"),
    ]

    def clips(self, index, report):
        banned = set()
        if self.builder_config.name == "without_evaluation":
            banned = blacklist(index)
        splits = {}
        for split, source in SOURCES.items():
            files = index.glob(f"json_files/{source}/*.json")
            if not files:
                report.skip(f"json_files/{source}", "metadata not there")
                continue
            splits[split] = [
                clip
                for name in files
                for row in read_table(index.require(name), name)
                if (clip := source_clip(index, source, row, banned, report))
            ]
        if not splits:
            raise InputError(f"{index.folder}: no json_files/SOURCE/*.json there")
        return splits


def source_clip(index, source, row, banned, report):
    """A row's clip; None if a blacklist names it."""
    # AudioSet ids are the video's with Y before and .wav after it.
    name = str(row["id"])
    stem = PurePosixPath(name).stem if PurePosixPath(name).suffix in (".wav", ".mp3") else name
    if stem in banned or stem.removeprefix("Y") in banned:
        report.skip(f"{source}/{name}", "named by a blacklist")
        return None
    # Sources number their clips independently: the file must be in its source's folder.
    names = [n for n in index.audio_by_stem.get(stem, []) if source.lower() in n.lower()]
    keys = ("author", "download_link", "href", "tags", "description", "title")
    return ClipRecord(
        f"{source}/{name}",
        index.files[names[0]] if names else None,
        captions=(row["caption"].strip(),),
        extra={key: row[key] for key in keys if row.get(key)},
    )


def blacklist(index):
    """All ids of the published lists, without Y and suffix. Raises InputError without lists."""
    names = index.glob("blacklist/*.json")
    if not names:
        raise InputError(f"{index.folder}: without_evaluation needs the lists blacklist/*.json")
    banned = set()
    for name in names:
        lists = json.loads(index.require(name))
        for ids in lists.values() if isinstance(lists, dict) else [lists]:
            banned |= {str(i).removesuffix(".wav").removeprefix("Y") for i in ids}
    return banned
