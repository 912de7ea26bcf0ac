"""AudioSet's tables, with their comments and quotes, beside tars of FLAC and downloaded files."""

import json

import pytest

from audioldm2_jax.corpora import archives
from audioldm2_jax.errors import InputError

HEADER = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=2, num_positive_labels=4
# YTID, start_seconds, end_seconds, positive_labels
"""
CLASSES = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'


def test_tables_and_audio(manual, built):
    balanced = '--aaaaaaaaa, 30.000, 40.000, "/m/09x0r,/m/05zppz"\n'
    balanced += 'bbbbbbbbbbb, 0.000, 10.000, "/m/09x0r"\n'
    evaluation = (
        '-cccccccccc, 1.500, 11.500, "/m/unknown"\nddddddddddd, 2.000, 12.000, "/m/09x0r"\n'
    )
    archives.write(
        manual,
        {
            "class_labels_indices.csv": CLASSES.encode(),
            "balanced_train_segments.csv": (HEADER + balanced).encode(),
            "eval_segments.csv": (HEADER + evaluation).encode(),
            "eval/-cccccccccc_1500_11500.mp3": archives.sound(2, seconds=1, kind="MP3"),
            "eval/ddddddddddd.m4a": b"\0\0\0 ftypM4A ",
        },
    )
    tar = {"audio/bal_train/--aaaaaaaaa.flac": archives.sound(1, rate=48000, kind="FLAC")}
    archives.write_tar(manual / "bal_train00.tar", tar)
    corpus = built("data/audioset")
    clip = corpus.splits["balanced_train"]["--aaaaaaaaa_30"]
    assert clip["labels"] == ["Speech", "Male speech, man speaking"]
    assert json.loads(clip["extra"])["mids"] == ["/m/09x0r", "/m/05zppz"]
    assert corpus.splits["eval"]["-cccccccccc_1.5"]["labels"] == ["/m/unknown"]
    assert corpus.skipped.pop("ddddddddddd_2").startswith(".m4a is not decoded here: convert it")
    assert corpus.skipped == {
        "bbbbbbbbbbb_0": "missing",
        "unbalanced_train_segments.csv": "metadata not there",
    }


def test_a_table_of_another_form(manual, built):
    archives.write(manual, {"class_labels_indices.csv": b"a,b\n1,2\n"})
    archives.write(manual, {"eval_segments.csv": b"x, 1, 2, y\n"})
    with pytest.raises(InputError, match="not as audioset publishes it .KeyError: 'mid'"):
        built("data/audioset")


def test_without_its_tables(manual, built):
    with pytest.raises(InputError, match="class_labels_indices.csv is not there"):
        built("data/audioset")
