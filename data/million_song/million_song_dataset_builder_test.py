"""Million Song: tags out of Last.fm's zips, previews by track or by 7digital's number."""

import json
import sqlite3
from contextlib import closing

from audioldm2_jax.corpora import archives


def track(key, *tags):
    facts = {"artist": "Artist", "title": f"Title {key}", "track_id": key, "similars": []}
    return json.dumps(facts | {"tags": [[t, str(n)] for t, n in tags]}).encode()


def test_tags_and_previews(manual, built):
    archives.write_zip(
        manual / "lastfm_train.zip",
        {
            "lastfm_train/A/A/A/TRAAA1.json": track("TRAAA1", ("rock", 40), ("80s", 100)),
            "lastfm_train/A/A/B/TRAAB2.json": track("TRAAB2"),
            "lastfm_train/A/A/C/TRAAC3.json": b"{cut",
        },
    )
    archives.write_zip(
        manual / "lastfm_test.zip", {"lastfm_test/B/A/A/TRBAA4.json": track("TRBAA4", ("jazz", 9))}
    )
    previews = {
        "previews/A/TRAAA1.mp3": archives.sound(1, 1.0, 44100, "MP3"),
        "previews/4711.clip.mp3": archives.sound(2, 1.0, 22050, "MP3"),
    }
    archives.write(manual, previews)
    with closing(sqlite3.connect(manual / "track_metadata.db")) as database:
        database.execute("CREATE TABLE songs (track_id TEXT, track_7digitalid INT)")
        database.execute("INSERT INTO songs VALUES ('TRBAA4', 4711)")
        database.commit()
    corpus = built("data/million_song")
    assert corpus.splits["train"]["TRAAA1"]["labels"] == ["80s", "rock"]
    assert corpus.splits["test"]["TRBAA4"]["sample_rate"] == 22050
    assert corpus.skipped == {
        "TRAAB2": "missing",
        "lastfm_train.zip/lastfm_train/A/A/C/TRAAC3.json": "broken metadata",
    }
