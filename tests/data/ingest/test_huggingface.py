"""Exports of `datasets` in its own form: parquet as on the hub, folders of save_to_disk."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.corpora.archives import read, sound, write

STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
FEATURES = {
    "audio": {"sampling_rate": 16000, "_type": "Audio"},
    "caption": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["dog", "cat"], "_type": "ClassLabel"},
}


def rows(start, count, kind="WAV"):
    clips = [
        {"bytes": sound(i, kind=kind), "path": f"{i}.{kind.lower()}"}
        for i in range(start, start + count)
    ]
    columns = {
        "audio": pyarrow.array(clips, STRUCT),
        "caption": pyarrow.array([f"caption, {i}" for i in range(start, start + count)]),
        "label": pyarrow.array([i % 2 for i in range(start, start + count)], pyarrow.int64()),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pyarrow.table(columns).replace_schema_metadata(metadata)


def prepare(source, target):
    return main(["prepare", str(source), str(target), "--workers", "1", "-q"])


def check(corpus, split, numbers, kind="WAV"):
    clips = read(corpus, split)
    assert {clip["captions"][0] for clip in clips.values()} == {f"caption, {i}" for i in numbers}
    for clip in clips.values():
        number = int(clip["captions"][0].split()[1])
        assert clip["audio"] == sound(number, kind=kind)
        assert clip["labels"] == [("dog", "cat")[number % 2]]


def test_parquet_of_the_hub(tmp_path):
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    for part in range(2):
        path = folder / f"train-{part:05d}-of-00002.parquet"
        pyarrow.parquet.write_table(rows(10 * part, 5), path, row_group_size=2)
    pyarrow.parquet.write_table(rows(90, 1, "FLAC"), folder / "test-00000-of-00001.parquet")
    assert prepare(tmp_path / "hub", tmp_path / "corpus") == 0
    check(tmp_path / "corpus", "train", [*range(5), *range(10, 15)])
    check(tmp_path / "corpus", "test", [90], "FLAC")


def test_save_to_disk(tmp_path):
    saved = tmp_path / "saved"
    for split, start in (("train", 0), ("validation", 7)):
        (saved / split).mkdir(parents=True)
        path = saved / split / "data-00000-of-00001.arrow"
        with pyarrow.OSFile(str(path), "wb") as file:
            table = rows(start, 3)
            with pyarrow.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
        state = {"_data_files": [{"filename": path.name}], "_split": split}
        write(saved / split, {"state.json": json.dumps(state).encode(), "dataset_info.json": b"{}"})
    write(saved, {"dataset_dict.json": b'{"splits": ["train", "validation"]}'})
    assert prepare(saved, tmp_path / "both") == 0
    check(tmp_path / "both", "train", range(3))
    check(tmp_path / "both", "validation", range(7, 10))
    assert prepare(saved / "validation", tmp_path / "one") == 0
    check(tmp_path / "one", "validation", range(7, 10))


def test_audio_that_lies_beside(tmp_path):
    """Structs without bytes name files."""
    write(tmp_path / "hub", {"wavs/a.wav": sound(1)})
    clips = [{"bytes": None, "path": "wavs/a.wav"}, {"bytes": None, "path": "wavs/gone.wav"}]
    table = pyarrow.table({"audio": pyarrow.array(clips, STRUCT), "text": ["One", "Two"]})
    pyarrow.parquet.write_table(table, tmp_path / "hub" / "x.parquet")
    assert prepare(tmp_path / "hub", tmp_path / "corpus") == 0
    (clip,) = read(tmp_path / "corpus", "train").values()
    assert clip["audio"] == sound(1) and clip["captions"] == ["One"]
    assert '"missing"' in (tmp_path / "corpus" / "skipped.jsonl").read_text()


@pytest.mark.parametrize("name", ["x.parquet", "y/data.arrow"])
def test_damaged_files_are_named(tmp_path, capsys, name):
    write(tmp_path / "hub", {name: b"PAR1 cut off"})
    if name.endswith("arrow"):
        write(tmp_path / "hub", {"dataset_dict.json": b"{}"})
    assert prepare(tmp_path / "hub", tmp_path / "corpus") == 2
    assert "damaged table" in capsys.readouterr().err


@pytest.mark.parametrize(
    "features",
    [
        *([1], 5, None, {"label": 5}, {"label": {"_type": "ClassLabel"}}),
        *({"label": {"_type": "ClassLabel", "names": n}} for n in (5, {"a": 1}, [1, 2], "ab")),
    ],
)
def test_classes_without_names_stay_numbers(tmp_path, features):
    table = pyarrow.table({"file_name": ["a.wav"], "label": [0], "text": ["x"]})
    metadata = json.dumps({"info": {"features": features}})
    write(tmp_path / "in", {"a.wav": sound(1)})
    table = table.replace_schema_metadata({"huggingface": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "in" / "train-00000-of-00001.parquet")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    (clip,) = read(tmp_path / "out", "train").values()
    assert clip["captions"] == ["x"]


def test_more_rows_than_bytes_are_refused(tmp_path, capsys):
    count = 300000
    table = pyarrow.table({"file_name": ["a.wav"] * count, "text": ["x" * 1000] * count})
    (tmp_path / "in").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "in" / "a.parquet", compression="zstd")
    assert prepare(tmp_path / "in", tmp_path / "out") == 2
    assert "more than it has bytes" in capsys.readouterr().err
