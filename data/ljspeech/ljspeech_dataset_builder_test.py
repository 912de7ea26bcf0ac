"""LJSpeech out of its bzip2 tar; quotes in its table mean nothing."""

import json

from audioldm2_jax.corpora import archives


def test_from_the_tar(manual, built):
    table = 'LJ001-0001|He said "in 1455|He said "in fourteen fifty-five\n'
    table += "LJ001-0002|Mr. Müller|Mister Müller\nLJ001-0003|gone|gone\n"
    files = {"LJSpeech-1.1/metadata.csv": table.encode()}
    for i in (1, 2):
        files[f"LJSpeech-1.1/wavs/LJ001-000{i}.wav"] = archives.sound(i, rate=22050)
    archives.write_tar(manual / "LJSpeech-1.1.tar.bz2", files, "w:bz2")
    corpus = built("data/ljspeech")
    clips = corpus.splits["train"]
    assert clips["LJ001-0001"]["transcript"] == 'He said "in fourteen fifty-five'
    assert json.loads(clips["LJ001-0002"]["extra"]) == {"raw": "Mr. Müller"}
    assert clips["LJ001-0001"]["sample_rate"] == 22050
    assert corpus.skipped == {"LJ001-0003": "missing"}
