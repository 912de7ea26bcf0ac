"""ESC-50 out of GitHub's zip, by our writer and by TFDS' own."""

import json

import tensorflow_datasets as tfds

from audioldm2_jax.corpora import archives
from audioldm2_jax.data.corpus.corpus_builder import load_builder

HEADER = "filename,fold,target,category,esc10,src_file,take\n"


def write(manual):
    """Ten clips, two a fold; one file is missing, one is empty."""
    files, lines = {}, ""
    for i in range(10):
        name = f"{i % 5 + 1}-{1000 + i}-A-{i}.wav"
        lines += f"{name},{i % 5 + 1},{i},{'vacuum_cleaner' if i else 'dog'},{i < 2},{1000 + i},A\n"
        files[f"ESC-50-master/audio/{name}"] = archives.sound(i, rate=44100)
    del files["ESC-50-master/audio/3-1002-A-2.wav"]
    files["ESC-50-master/audio/4-1003-A-3.wav"] = b""
    files["ESC-50-master/meta/esc50.csv"] = (HEADER + lines).encode()
    archives.write_zip(manual / "ESC-50-master.zip", files)


def test_from_the_zip(manual, built):
    write(manual)
    corpus = built("data/esc50")
    assert {s: len(c) for s, c in corpus.splits.items()} == {
        "fold1": 2,
        "fold2": 2,
        "fold3": 1,
        "fold4": 1,
        "fold5": 2,
    }
    assert corpus.skipped == {"3-1002-A-2.wav": "missing", "4-1003-A-3.wav": "empty file"}
    clip = corpus.splits["fold1"]["1-1005-A-5.wav"]
    assert clip["labels"] == ["vacuum cleaner"] and clip["sample_rate"] == 44100
    assert clip["audio"] == archives.sound(5, rate=44100)
    assert json.loads(clip["extra"]) == {"target": 5, "esc10": False}


def test_tfds_writes_the_same(manual, built, tmp_path):
    """`download_and_prepare`, as TFDS' users call it, without TensorFlow."""
    write(manual)
    ours = built("data/esc50")
    builder = type(load_builder("data/esc50"))(data_dir=tmp_path / "tfds")
    settings = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=settings, file_format="array_record")
    for split, clips in ours.splits.items():
        assert archives.read(builder.data_path, split) == clips
    lines = (builder.data_path / "skipped.jsonl").read_text().splitlines()
    assert {(line := json.loads(x))["name"]: line["reason"] for x in lines} == ours.skipped
