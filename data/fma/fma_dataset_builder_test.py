"""FMA out of its zips: MP3 by number, a table with a header of three lines."""

import json

import pytest

from audioldm2_jax.corpora import archives
from audioldm2_jax.errors import InputError

GROUPS = ",set,set,track,track,track,track,artist"
NAMES = ",split,subset,genre_top,genres_all,title,license,name"
ROWS = """track_id,,,,,,,
2,training,small,Hip-Hop,[21],Food,"CC, BY",AWOL
5,test,small,Rock,"[12, 21]",Two,CC0,B
141,validation,medium,Folk,[],Three,CC0,C
155,training,large,,[],Four,CC0,D
"""
GENRES = "genre_id,#tracks,parent,title,top_level\n21,12693,0,Hip-Hop,21\n12,32923,0,Rock,12\n"


def write(manual):
    metadata = f"{GROUPS}\n{NAMES}\n{ROWS}"
    tables = {
        "fma_metadata/tracks.csv": metadata.encode(),
        "fma_metadata/genres.csv": GENRES.encode(),
    }
    archives.write_zip(manual / "fma_metadata.zip", tables)
    small = {f"fma_small/000/{n}.mp3": archives.sound(1, 1.0, 44100, "MP3") for n in ("000002",)}
    small["fma_small/000/000005.mp3"] = b"ID3 cut off"
    archives.write_zip(manual / "fma_small.zip", small)


def test_small(manual, built):
    write(manual)
    corpus = built("data/fma:small")
    (clip,) = corpus.splits["training"].values()
    assert clip["labels"] == ["Hip-Hop"] and clip["captions"] == []
    assert json.loads(clip["extra"])["license"] == "CC, BY"
    assert corpus.skipped == {"000005": "no audio that libsndfile reads"}


def test_a_larger_set_holds_the_smaller(manual, built):
    write(manual)
    archives.write_zip(
        manual / "fma_medium.zip",
        {"fma_medium/000/000141.mp3": archives.sound(3, 1.0, 44100, "MP3")},
    )
    corpus = built("data/fma:medium")
    assert {s: list(c) for s, c in corpus.splits.items()} == {
        "training": ["000002"],
        "validation": ["000141"],
    }


def test_a_set_must_be_named(manual, built):
    with pytest.raises(InputError, match="choose one: data/fma:small data/fma:medium"):
        built("data/fma")
