"""Million Song Dataset: the Last.fm tags of its tracks, beside previews that you supply."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord, find_audio
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError


class Builder(CorpusBuilder):
    """Splits train and test of the Last.fm dataset; tags are the labels, strongest first.

    Audio was never distributed: previews are named by the track, or by their 7digital number
    (then track_metadata.db, which maps them, must lie beside).
    """

    HOMEPAGE = "http://millionsongdataset.com/lastfm"
    LICENSE = "tags: research only; audio: of its owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "lastfm_train.zip and lastfm_test.zip, or unpacked; previews in any folder, zip or tar; "
        "track_metadata.db if they are named by 7digital numbers."
    )

    def clips(self, index, report):
        numbers = seven_digital(index)
        splits = {}
        for split in ("train", "test"):
            names = index.glob(f"lastfm_{split}/*.json")
            if names:
                splits[split] = (track(index, name, numbers, report) for name in names)
            else:
                report.skip(f"lastfm_{split}", "metadata not there")
        if not splits:
            raise InputError(f"{index.folder}: no lastfm_train/ or lastfm_test/ there")
        return {split: filter(None, clips) for split, clips in splits.items()}


def track(index, name, numbers, report):
    """A track's clip from its JSON file; None for a broken one."""
    try:
        metadata = json.loads(index.files[name].read())
        tags = sorted(metadata["tags"], key=lambda tag: -int(tag[1]))
        key = metadata["track_id"]
    except (ValueError, KeyError, IndexError, TypeError, Unreadable):
        report.skip(name, "broken metadata")
        return None
    number = numbers.get(key)
    stems = [key] + ([f"{number}.clip", str(number)] if number else [])
    return ClipRecord(
        key,
        find_audio(index, stems),
        labels=tuple(tag[0] for tag in tags),
        extra={"title": metadata.get("title", ""), "artist": metadata.get("artist", "")},
    )


def seven_digital(index):
    """7digital numbers by track; {} without the database. Raises InputError for a broken one."""
    file = index.find("track_metadata.db")
    if file is None or file.member or file.offset >= 0:
        return {}
    try:
        with closing(
            sqlite3.connect(f"{Path(file.path).resolve().as_uri()}?mode=ro", uri=True)
        ) as database:
            return dict(database.execute("SELECT track_id, track_7digitalid FROM songs"))
    except sqlite3.Error as error:
        raise InputError(f"{file.path}: no table of the songs ({error})") from None
