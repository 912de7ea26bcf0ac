"""A folder with the usual mess becomes a corpus; what is left out is named; a stop loses little."""

import csv
import io
import json
import unicodedata

import numpy as np
import pytest
import soundfile

from audioldm2_jax.cli.main import main
from audioldm2_jax.corpora import archives
from audioldm2_jax.corpora.archives import read, sound, write
from audioldm2_jax.data.corpus import examples, reader
from audioldm2_jax.data.corpus import prepare as preparing
from audioldm2_jax.data.corpus import writer as building
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.huggingface import TableCell
from audioldm2_jax.data.ingest.report import Report

ROWS = [
    ("dogs/bark.wav", 'A dog barks, then "howls"\nat the moon', "dog,animal"),
    ("dogs/bark.wav", "A second caption of it", "dog"),
    ("deep/er/Öl.flac", "Oil bubbles", ""),
    ("rain.mp3", "Rain", "rain; water"),
    ("voice.ogg", "", "speech"),
    ("low.wav", "8 kHz", ""),
    ("unique_name", "Found by its name alone", ""),
    ("twice.wav", "Which one?", ""),
    ("gone.wav", "Not there", ""),
    ("empty.wav", "Empty", ""),
    ("broken.flac", "Cut in the middle", ""),
    ("text.wav", "Not audio", ""),
    ("movie.mp4", "A video", ""),
    ("nothing.wav", "No samples", ""),
    ("", "Names no file", ""),
]
REASONS = {
    "twice.wav": "several files have that name; give the path",
    "gone.wav": "missing",
    "empty.wav": "empty file",
    "broken.flac": "broken: it cannot be decoded to its end",
    "text.wav": "no audio that libsndfile reads",
    "movie.mp4": ".mp4 is not decoded here: convert it first (ffmpeg -i in.mp4 out.flac)",
    "nothing.wav": "no samples",
    "a/unlisted.wav": "not in the table",
    "a/twice.wav": "not in the table",
    "b/twice.wav": "not in the table",
}


@pytest.fixture
def mess(tmp_path):
    """The files that ROWS names, and some more."""
    folder = tmp_path / "mess"
    whole = sound(9, 2.0, 16000, "FLAC")
    write(
        folder,
        {
            "dogs/bark.wav": sound(1, rate=44100, channels=2),
            unicodedata.normalize("NFD", "deep/er/Öl.flac"): sound(2, rate=48000, kind="FLAC"),
            "rain.mp3": sound(3, 1.0, 44100, "MP3"),
            "voice.ogg": sound(4, 1.0, 22050, "OGG"),
            "low.wav": sound(5, rate=8000),
            "far/away/unique_name.wav": sound(6),
            "a/twice.wav": sound(7),
            "b/twice.wav": sound(8),
            "empty.wav": b"",
            "broken.flac": whole[: len(whole) // 2],
            "text.wav": b"this is text" * 100,
            "movie.mp4": b"\0\0\0\x18ftypmp42",
            "nothing.wav": sound(10, 0.0),
            "a/unlisted.wav": sound(11),
            ".DS_Store": b"x",
        },
    )
    return folder


def table(kind: str) -> bytes:
    if kind in ("csv", "tsv"):
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t" if kind == "tsv" else ",")
        writer.writerows([("file_name", "caption", "labels"), *ROWS])
        return ("\ufeff" + text.getvalue()).encode()
    rows = [{"wav": f, "caption": c, "labels": labels} for f, c, labels in ROWS]
    if kind == "jsonl":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    return json.dumps({"data": rows}, ensure_ascii=False).encode()


def prepare(*arguments):
    return main(["prepare", *map(str, arguments), "--workers", "1", "-q"])


def skipped(corpus) -> dict:
    lines = (corpus / "skipped.jsonl").read_text().splitlines()
    stored = [json.loads(line) for line in lines]
    return {line["name"]: line["reason"] for line in stored if "kept" not in line}


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
def test_the_usual_mess(mess, tmp_path, capsys, kind):
    """Every table gives the same corpus, and names the same losses."""
    write(mess, {f"captions.{kind}": table(kind)})
    assert prepare(mess, tmp_path / "corpus") == 0
    clips = read(tmp_path / "corpus", "train")
    assert set(clips) == {
        "dogs/bark.wav",
        "deep/er/Öl.flac",
        "rain.mp3",
        "voice.ogg",
        "low.wav",
        "far/away/unique_name.wav",
    }
    bark = clips["dogs/bark.wav"]
    assert bark["captions"] == ['A dog barks, then "howls"\nat the moon', "A second caption of it"]
    assert bark["labels"] == ["dog", "animal"]
    assert bark["audio"] == sound(1, rate=44100, channels=2), "kept as it was"
    assert clips["rain.mp3"]["labels"] == ["rain", "water"]
    assert clips["voice.ogg"]["captions"] == []
    rates = {name: clip["sample_rate"] for name, clip in clips.items()}
    assert rates["low.wav"] == 8000 and rates["deep/er/Öl.flac"] == 48000
    assert clips["rain.mp3"]["seconds"] == pytest.approx(1.0, abs=0.1)
    results = skipped(tmp_path / "corpus")
    (nameless,) = [name for name in results if name not in REASONS]
    assert results.pop(nameless) == "names no file" and nameless.endswith("row 15")
    assert results == REASONS
    output = capsys.readouterr()
    assert json.loads(output.out)["skipped"] == len(REASONS) + 1
    assert "skipped 3, not in the table: a/" in output.err


def test_files_in_archives(mess, tmp_path):
    """A zip counts as a folder."""
    files = {"clips/one.wav": sound(1), "clips/two.wav": sound(2), "captions.csv": b""}
    files["captions.csv"] = b"audio,text\nclips/one.wav,One\nclips/two.wav,Two\n"
    archives.write_zip(tmp_path / "zipped" / "set.zip", files)
    assert prepare(tmp_path / "zipped", tmp_path / "corpus") == 0
    captions = {c["captions"][0] for c in read(tmp_path / "corpus", "train").values()}
    assert captions == {"One", "Two"}


def test_texts_beside_the_audio(tmp_path):
    write(
        tmp_path / "in",
        {
            "a.wav": sound(1),
            "a.txt": "First caption\n\nSecond, with ü\n".encode(),
            "b/c.flac": sound(2, kind="FLAC"),
            "b/c.json": json.dumps({"caption": "From JSON", "labels": ["x"]}).encode(),
            "d.wav": sound(3),
        },
    )
    assert prepare(tmp_path / "in", tmp_path / "corpus") == 0
    clips = read(tmp_path / "corpus", "train")
    assert clips["a.wav"]["captions"] == ["First caption", "Second, with ü"]
    assert clips["b/c.flac"]["captions"] == ["From JSON"] and clips["b/c.flac"]["labels"] == ["x"]
    assert clips["d.wav"]["captions"] == []
    assert "without a caption" in (tmp_path / "corpus" / "skipped.jsonl").read_text()


def test_splits(tmp_path):
    """AudioFolder's metadata in each split's folder; a column of splits; a share for validation."""
    files = {f"{s}/{i}.wav": sound(i) for s in ("train", "test") for i in range(3)}
    for split in ("train", "test"):
        lines = "".join(f"{i}.wav,{split} {i}\n" for i in range(3))
        files[f"{split}/metadata.csv"] = f"file_name,text\n{lines}".encode()
    write(tmp_path / "folders", files)
    assert prepare(tmp_path / "folders", tmp_path / "one") == 0
    assert {c["captions"][0] for c in read(tmp_path / "one", "test").values()} == {
        f"test {i}" for i in range(3)
    }
    rows = "".join(f"{i}.wav,{'dev' if i == 3 else 'train'},caption {i}\n" for i in range(40))
    write(tmp_path / "column", {f"{i}.wav": sound(i) for i in range(40)})
    write(tmp_path / "column", {"list.csv": f"file,split,caption\n{rows}".encode()})
    assert prepare(tmp_path / "column", tmp_path / "two", "--validation", "0.25") == 0
    assert set(read(tmp_path / "two", "dev")) == {"3.wav"}
    train, held = (set(read(tmp_path / "two", s)) for s in ("train", "validation"))
    assert not train & held and len(train | held) == 39 and 4 <= len(held) <= 16


def test_tables_named_by_hand(tmp_path):
    """Tables elsewhere, with paths of another machine, and columns of other names."""
    write(tmp_path / "audio", {"x/a.wav": sound(1), "x/b.wav": sound(2)})
    row = "where\twords\tkind\n/old/disk/x/a.wav\tHello\tgreeting\n"
    write(
        tmp_path, {"one.tsv": row.encode(), "two.json": b'[{"wav": "x/b.wav", "caption": "Two"}]'}
    )
    columns = ["--file_column", "where", "--caption_columns", "words", "--label_column", "kind"]
    target = tmp_path / "corpus"
    assert prepare(tmp_path / "audio", target, "--metadata", tmp_path / "one.tsv", *columns) == 0
    (clip,) = read(target, "train").values()
    assert clip["id"] == "x/a.wav" and clip["labels"] == ["greeting"]
    two = f"test={tmp_path / 'two.json'}"
    assert prepare(tmp_path / "audio", tmp_path / "other", "--metadata", two) == 0
    assert list(read(tmp_path / "other", "test")) == ["x/b.wav"]


def test_another_rate(tmp_path):
    """Mono 16-bit FLAC at that rate: smaller, and the sound is that of the first channel."""
    seconds = np.arange(44100) / 44100
    wave = np.stack([0.5 * np.sin(2 * np.pi * 440 * seconds), 0.1 * np.ones(44100)], 1)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "tone.wav", wave, 44100)
    assert prepare(tmp_path / "in", tmp_path / "corpus", "--sample_rate", "16000") == 0
    (clip,) = read(tmp_path / "corpus", "train").values()
    results, rate = soundfile.read(io.BytesIO(clip["audio"]))
    assert rate == clip["sample_rate"] == 16000 and results.ndim == 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(results[200:-200], expected[200:-200], atol=2e-3)


def test_bad_input_is_one_line(tmp_path, capsys):
    write(
        tmp_path / "two", {"a.csv": b"file,caption\n", "b.csv": b"file,caption\n", "c.wav": sound()}
    )
    write(tmp_path / "none", {"readme.md": b"x"})
    write(
        tmp_path / "latin",
        {"a.wav": sound(), "a.csv": "file,caption\na.wav,caf\xe9".encode("latin-1")},
    )
    write(tmp_path / "wide", {"a.wav": sound(), "t.csv": b"file,caption\na.wav,one, two\n"})
    write(tmp_path / "json", {"a.wav": sound(), "t.json": b'{"data": [}'})
    write(tmp_path / "column", {"a.wav": sound(), "t.csv": b"what,caption\na.wav,x\n"})
    write(tmp_path / "lost", {"a.wav": b"", "t.csv": b"file,caption\na.wav,x\n"})
    write(tmp_path / "good", {"a.wav": sound()})
    write(tmp_path / "full", {"x": b""})
    for arguments, message in (
        (["absent", "out"], "no such folder"),
        (["two", "out"], "several tables (a.csv, b.csv); choose with --metadata"),
        (["none", "out"], "no audio there"),
        (["latin", "out"], "a.csv: line 2 is not UTF-8"),
        (["wide", "out"], "t.csv: line 2 has 3 values for 2 columns"),
        (["json", "out"], "t.json: no JSON"),
        (["column", "out"], "no column names the audio files; name it with --file_column"),
        (["lost", "out"], "no clip can be used"),
        (["good", "full"], "not empty"),
        (["good", "good/out"], "lies inside"),
        (["good", "out", "--metadata", "absent.csv"], "--metadata absent.csv: no such file"),
        (["good", "out", "--validation", "1"], "--validation is 1: train has 1 clips"),
        (["good", "out", "--sample_rate", "16"], "--sample_rate is 16"),
        (["good", "out", "--corpus", "nonesuch"], "--corpus nonesuch: no such builder"),
    ):
        source, target, *rest = arguments
        assert prepare(tmp_path / source, tmp_path / target, *rest) == 2, message
        stderr = capsys.readouterr().err
        assert stderr.startswith("error: ") and message in stderr
        assert not (tmp_path / "out").exists(), message


def entries(folder, count):
    write(folder, {f"{i}.wav": sound(i) for i in range(count)})
    return [
        ClipRecord(f"{i}.wav", FileRef(str(folder / f"{i}.wav")), (f"caption {i}",))
        for i in range(count)
    ]


def test_a_stopped_preparation_goes_on(tmp_path, monkeypatch):
    """What was done is kept, and the result is that of an undisturbed run, to the byte."""
    monkeypatch.setattr(preparing, "shard_size", lambda count: 4)
    plan = {"train": entries(tmp_path / "in", 10)}
    outputs, example = [], examples.audio_example

    def interrupted(entry, rate):
        outputs.append(entry.id)
        if outputs.count("6.wav") == 1 and entry.id == "6.wav":
            raise KeyboardInterrupt
        return example(entry, rate)

    def run(target):
        about = {"name": "mine"}
        return preparing.prepare(plan, target, metadata=about, report=Report(), workers=1)

    monkeypatch.setattr(examples, "audio_example", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    assert not reader.is_corpus(tmp_path / "stopped")
    outputs.clear()
    outputs.append("6.wav")
    results = run(tmp_path / "stopped")
    assert outputs[1:] == [f"{i}.wav" for i in range(4, 10)], "the first part was whole"
    assert run(tmp_path / "whole") == results
    one, other = (
        {p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("stopped", "whole")
    )
    assert one == other and "dataset_info.json" in one
    outputs.clear()
    assert run(tmp_path / "whole") == results and not outputs, "nothing is done twice"


def test_finishing_survives_a_stop(tmp_path, monkeypatch):
    """Killed between the moves of the last step, the next run ends it."""
    plan = {"train": entries(tmp_path / "in", 3)}
    replace = building.os.replace

    def stopped(source, target):
        if str(target).endswith("dataset_info.json"):
            raise KeyboardInterrupt
        replace(source, target)

    def run():
        return preparing.prepare(
            plan, tmp_path / "out", metadata={"name": "mine"}, report=Report(), workers=1
        )

    monkeypatch.setattr(building.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not reader.is_corpus(tmp_path / "out")
    monkeypatch.setattr(building.os, "replace", replace)
    assert run()["clips"] == 3
    assert len(read(tmp_path / "out", "train")) == 3


def test_another_plan_is_another_corpus(tmp_path, capsys):
    write(tmp_path / "in", {"a.wav": sound(1), "a.txt": b"one"})
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    write(tmp_path / "in", {"b.wav": sound(2)})
    assert prepare(tmp_path / "in", tmp_path / "out") == 2
    assert "holds a corpus made otherwise (plan" in capsys.readouterr().err
    assert len(read(tmp_path / "out", "train")) == 1


@pytest.mark.slow
def test_several_processes_make_the_same(mess, tmp_path):
    write(mess, {"captions.csv": table("csv")})
    assert prepare(mess, tmp_path / "one", "--name", "x") == 0
    assert main(["prepare", str(mess), str(tmp_path / "two"), "--name", "x", "--workers", "2"]) == 0
    assert read(tmp_path / "one", "train") == read(tmp_path / "two", "train")


def test_fingerprints_stay_as_stored():
    """A preparation resumes that began when the classes had other names."""
    file, text = FileRef("x.wav"), ("it's", 'q"')
    train = [
        ClipRecord("a", file, text, ("l",), "said", 0.5, 1.0, {"k": 1}),
        ClipRecord("b\ud800", FileRef("z.zip", "m/ü.flac")),
        ClipRecord("c", None, reason="gone"),
    ]
    cell = TableCell("t.parquet", "audio", 0, 3, "n.wav")
    test = [ClipRecord("d", cell), ClipRecord("e", FileRef("t.tar", "", 512, 99))]
    assert preparing._fingerprint({"train": train, "test": test}) == "fde7fd6718fea746"
