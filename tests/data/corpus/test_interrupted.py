"""What commands leave on disk: whole or absent when the disk is full, done again when damaged."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.corpora.archives import read, sound, write
from audioldm2_jax.data.corpus import prepare as preparing
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.soundscapes import build
from audioldm2_jax.errors import InputError

ROOT = Path(__file__).parents[3]


def prepare(*arguments):
    return main(["prepare", *map(str, arguments), "--workers", "1", "-q"])


def soundscapes(*arguments):
    return main(["soundscapes", *map(str, arguments), "-dur", "0.5", "--workers", "1", "-q"])


def limited(size: int, *arguments) -> subprocess.CompletedProcess:
    """The command in a process that cannot write files beyond `size` bytes, as on a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    program = "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    program += "from audioldm2_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments), "--workers", "1", "-q"],
        preexec_fn=limit,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def clips(tmp_path):
    """20 clips of 32 kB: two parts."""
    write(tmp_path / "in", {f"{i:02d}.wav": sound(i, 1.0) for i in range(20)})
    return tmp_path / "in"


@pytest.mark.parametrize("size", [100, 2000, 100_000, 530_000])
def test_a_full_disk_in_prepare(clips, tmp_path, size):
    """At the plan, at a part, at the end; one line, nothing that looks finished, and it goes on."""
    done = limited(size, "prepare", clips, tmp_path / "out")
    assert done.returncode == 2 or reader.is_corpus(tmp_path / "out"), done.stderr
    if done.returncode == 2:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert "File too large" in done.stderr
        assert not reader.is_corpus(tmp_path / "out")
        left = [p.name for p in (tmp_path / "out").rglob(".*") if p.is_file()]
        assert not left
    assert prepare(clips, tmp_path / "out") == 0
    assert len(read(tmp_path / "out", "train")) == 20


def test_a_full_disk_in_soundscapes(tmp_path):
    for size in (10, 5000):
        done = limited(size, "soundscapes", tmp_path / "out", "--count", "6", "-dur", "0.5")
        if done.returncode == 0:
            break
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "out" / "metadata.jsonl").exists()
        assert not list((tmp_path / "out").rglob(".*"))
    assert soundscapes(tmp_path / "out", "--count", "6") == 0
    assert soundscapes(tmp_path / "whole", "--count", "6") == 0
    one, other = (tmp_path / n / "metadata.jsonl" for n in ("out", "whole"))
    assert one.read_bytes() == other.read_bytes()


def damaged(data: bytes):
    yield b""
    yield data[: len(data) // 2]
    yield b"\xff" + data
    yield data.replace(b":", b";", 1)
    yield b"[]"
    yield b"3"
    yield b"{}"
    yield b"[" * 100000


@pytest.fixture
def stopped(clips, tmp_path, monkeypatch):
    """A preparation that stopped after its parts."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing.CorpusWriter, "finish", stop)
        assert prepare(clips, tmp_path / "out") == 130
    return tmp_path / "out" / ".work"


def test_a_damaged_plan_is_named(clips, stopped, tmp_path, capsys):
    plan = stopped / "plan.json"
    for content in damaged(plan.read_bytes()):
        plan.write_bytes(content)
        assert prepare(clips, tmp_path / "out") == 2
        stderr = capsys.readouterr().err
        assert stderr.count("\n") == 1 and len(stderr) < 600
        assert "delete" in stderr, content[:20]


@pytest.mark.parametrize("case", range(8))
def test_a_damaged_part_is_done_again(clips, stopped, tmp_path, case):
    part = stopped / "train-000000.json"
    part.write_bytes(list(damaged(part.read_bytes()))[case])
    assert prepare(clips, tmp_path / "out") == 0
    assert len(read(tmp_path / "out", "train")) == 20


@pytest.mark.parametrize("change", ["absent", "short", "folder", "value", "summary as folder"])
def test_a_damaged_record_is_written_again(clips, stopped, tmp_path, change, capsys):
    record, summary = stopped / "train-000001.array_record", stopped / "train-000001.json"
    if change == "absent":
        record.unlink()
    elif change == "short":
        record.write_bytes(record.read_bytes()[:-100])
    elif change == "folder":
        record.unlink()
        record.mkdir()
    elif change == "value":
        facts = json.loads(summary.read_text())
        summary.write_text(json.dumps(facts | {"clips": 7}))
    else:
        summary.unlink()
        summary.mkdir()
    code = prepare(clips, tmp_path / "out")
    if change in ("folder", "summary as folder"):
        assert code == 2 and capsys.readouterr().err.count("\n") == 1
        return
    assert code == 0 and len(read(tmp_path / "out", "train")) == 20


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("case", range(8))
def test_a_damaged_corpus_says_what_to_do(clips, tmp_path, capsys, name, case):
    assert prepare(clips, tmp_path / "out") == 0
    capsys.readouterr()
    path = tmp_path / "out" / name
    path.write_bytes(list(damaged(path.read_bytes()))[case])
    with pytest.raises(InputError) as caught:
        reader.open_split(tmp_path / "out", "train")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert prepare(clips, tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("case", range(8))
def test_damaged_state_of_soundscapes(tmp_path, capsys, monkeypatch, case):
    monkeypatch.setattr(build, "SHARD_CLIPS", 3)
    target = tmp_path / "out"
    assert soundscapes(target, "--count", "6") == 0
    whole = (target / "metadata.jsonl").read_bytes()
    part = target / "parts" / "0000003.jsonl"
    part.write_bytes(list(damaged(part.read_bytes()))[case])
    (target / "audio" / ".0123456789abcdef.part.flac").write_bytes(b"left by a killed process")
    assert soundscapes(target, "--count", "6") == 0
    assert (target / "metadata.jsonl").read_bytes() == whole
    assert not [p for p in target.rglob("*") if p.name.startswith(".")]
    settings = target / "settings.json"
    settings.write_bytes(list(damaged(settings.read_bytes()))[case])
    capsys.readouterr()
    assert soundscapes(target, "--count", "6") == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1 and len(stderr) < 600
    assert "delete" in stderr or "choose another folder" in stderr


def test_a_missing_clip_of_soundscapes_is_made_again(tmp_path):
    assert soundscapes(tmp_path / "out", "--count", "3") == 0
    clip = tmp_path / "out" / "audio" / "0000001.flac"
    data = clip.read_bytes()
    clip.unlink()
    assert soundscapes(tmp_path / "out", "--count", "3") == 0 and clip.read_bytes() == data


def test_texts_are_counted_by_split(tmp_path):
    write(
        tmp_path / "in",
        {f"{i}.wav": sound(i) for i in range(6)}
        | {
            "t.jsonl": "\n".join(
                json.dumps(row)
                for row in (
                    {"file": "0.wav", "caption": "x", "split": "train"},
                    {"file": "1.wav", "labels": "a,b", "split": "train"},
                    {"file": "2.wav", "transcript": "hello", "split": "train"},
                    {"file": "3.wav", "split": "train"},
                    {"file": "4.wav", "split": "test"},
                    {"file": "5.wav", "caption": "y", "transcript": "so", "split": "test"},
                )
            ).encode()
        },
    )
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    expected = {"clips": 4, "captioned": 1, "described": 2, "transcribed": 1}
    assert reader.text_counts(tmp_path / "out", "train") == expected
    assert reader.text_counts(tmp_path / "out", "train[:50%]") == expected
    both = {"clips": 6, "captioned": 2, "described": 3, "transcribed": 2}
    assert reader.text_counts(tmp_path / "out", "train+test") == both


@pytest.mark.parametrize("count", [2, 10, 25, 100])
@pytest.mark.parametrize("held", ["1", "5", "10", "0.05", "0.2", "0.999", "1e-9"])
def test_clips_held_back(count, held):
    """Never all, never none, the same ones each time; a share's ones stay in a larger corpus."""
    from audioldm2_jax.data.corpus.holdout import hold_out, parse_holdout
    from audioldm2_jax.data.ingest.clip_record import ClipRecord

    entries = [ClipRecord(f"{i}.wav", None) for i in range(count)]
    wanted = parse_holdout(held)
    if wanted >= count:
        with pytest.raises(InputError, match="some must stay"):
            hold_out({"train": entries}, wanted)
        return
    splits = hold_out({"train": entries}, wanted)
    names = {key: [e.id for e in value] for key, value in splits.items()}
    assert sorted(names["train"] + names["validation"]) == sorted(e.id for e in entries)
    assert names["train"] and names["validation"]
    if wanted >= 1:
        assert len(names["validation"]) == wanted
    shuffled = [entries[i] for i in np.random.default_rng(0).permutation(count)]
    again = hold_out({"train": shuffled}, wanted)
    assert {e.id for e in again["validation"]} == set(names["validation"])
    larger = [*entries, *(ClipRecord(f"more{i}.wav", None) for i in range(1000))]
    if 0.01 < wanted < 0.9 and count == 100:
        common = {e.id for e in hold_out({"train": larger}, wanted)["validation"]}
        assert set(names["validation"]) <= common


@pytest.mark.parametrize("held", ["-1", "nan", "inf", "1.5", "ten", "", "-0.1"])
def test_held_back_must_be_a_number(tmp_path, capsys, held):
    write(tmp_path / "in", {"a.wav": sound(1)})
    assert prepare(tmp_path / "in", tmp_path / "out", f"--validation={held}") == 2
    assert f"--validation is {held}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command, arguments, message",
    [
        ("prepare", ["--corpus", "clotho", "--name", "x"], "--name: a published corpus"),
        ("prepare", ["--corpus", "clotho", "--file_column", "x"], "--file_column: a published"),
        ("prepare", ["--corpus", "clotho", "--metadata", "x.csv"], "--metadata: a published"),
        ("prepare", ["--corpus", "clotho", "--allow_outside"], "--allow_outside: a published"),
        ("prepare", ["--caption_columns", "x"], "columns are named, but there is no table"),
        ("prepare", ["--split_column", "x"], "columns are named, but there is no table"),
        ("prepare", ["--workers", "0"], "--workers is 0"),
        ("soundscapes", ["--workers", "0"], "--workers is 0"),
        ("soundscapes", ["--seed", "-1"], "--seed is -1"),
        ("soundscapes", ["--voices", "plain"], "--voices: there is no speech"),
        ("soundscapes", ["--classes", ","], "names no class"),
        ("soundscapes", ["--kinds", "one=1", "--speech", "1"], "--kinds: with --speech 1"),
        ("soundscapes", ["--kinds", "one=1,one=2"], "one stands there twice"),
        ("soundscapes", ["--examples", "--count", "5"], "--count: --examples makes"),
        ("soundscapes", ["--examples", "--speech", "0.5"], "--speech: --examples makes"),
        ("soundscapes", ["--examples", "-dur", "2"], "--seconds: --examples makes"),
        ("encode", ["--model", "nano", "--seed", "-1"], "--seed is -1"),
        ("encode", ["--model", "nano", "--text_length", "0"], "--text_length is 0"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, capsys, command, arguments, message):
    write(tmp_path / "in", {"a.wav": sound(1)})
    folders = [tmp_path / "in", tmp_path / "out"][command == "soundscapes" :]
    assert main([command, *map(str, folders), *arguments]) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert not (tmp_path / "out").exists()


def test_features_import_nothing(tmp_path, monkeypatch, clips):
    """TFDS imports the module that features.json names."""
    assert prepare(clips, tmp_path / "out") == 0
    (tmp_path / "evil_module.py").write_text("import os; os.environ['EVIL'] = '1'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("EVIL", raising=False)
    path = tmp_path / "out" / "features.json"
    text = path.read_text()
    for old in ("tensorflow_datasets.core.features.text_feature.Text", "Sequence", "FeaturesDict"):
        name = next(x for x in text.split('"') if x.startswith("tensorflow_") and old in x)
        path.write_text(text.replace(name, "evil_module.Feature"))
        with pytest.raises(InputError, match="is not one of TFDS' own"):
            reader.open_split(tmp_path / "out", "train")
        path.write_text(path.read_text().replace("pythonClassName", "python_class_name"))
        with pytest.raises(InputError, match="is not one of TFDS' own"):
            reader.open_split(tmp_path / "out", "train")
    assert "EVIL" not in os.environ and "evil_module" not in sys.modules


def test_long_messages_are_cut(tmp_path, clips):
    assert prepare(clips, tmp_path / "out") == 0
    path = tmp_path / "out" / "dataset_info.json"
    facts = json.loads(path.read_text())
    facts["splits"] = [["x" * 5000]] * 500
    path.write_text(json.dumps(facts))
    with pytest.raises(InputError) as caught:
        reader.open_split(tmp_path / "out", "train")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "x" * 300])
def test_folders_of_impossible_names(tmp_path, capsys, name, clips):
    odd = f"{tmp_path}/{name}"
    for words in (
        ["prepare", odd, str(tmp_path / "out")],
        ["prepare", str(clips), odd],
        ["soundscapes", odd, "--count", "1"],
        ["encode", odd, str(tmp_path / "out"), "--model", "nano"],
    ):
        assert main([*words, "-q"]) == 2
        stderr = capsys.readouterr().err
        assert stderr.count("\n") == 1 and stderr.startswith("error: "), words
