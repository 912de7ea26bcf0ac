"""Sets of clips: each kind of bad input has its rule, its count and its message."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.clips import open_clips
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from tests.data.corpora import write_corpus

AUTHORS = PROTOCOLS["audioldm_eval"]
SPEC = AUTHORS.slot("classifier")


def _tone(path, *, number=0, rate=16000, seconds=2.5, gain=0.4, subtype=None, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = gain * np.sin(2 * np.pi * (300 + 10 * number) * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, wave, rate, subtype=subtype, **kwargs)
    return path


def _names(clips):
    return [clip.name for clip in clips.clips]


def _read_all(clips):
    """The names of the clips that read gives; what it raises is counted."""
    names = []
    for clip in clips.clips:
        try:
            audio = clips.read(clip, SPEC.loader, SPEC.sample_rate)
        except Unreadable:
            continue
        assert audio.dtype == np.float32 and len(audio) >= 32000
        names.append(clip.name)
    return names


def _bad_folder(root):
    """One clip of each kind that a folder can hold; returns the counts that follow."""
    _tone(root / "a.wav")
    _tone(root / "sub" / "deep" / "b.flac", number=1)
    _tone(root / "rate.ogg", number=2, rate=44100)
    _tone(root / "short.wav", number=3, seconds=0.5)
    _tone(root / "silent.wav", gain=0.0)
    _tone(root / "faint.wav", gain=5e-5, subtype="FLOAT")
    (root / "twin.wav").write_bytes((root / "a.wav").read_bytes())
    soundfile.write(root / "loud.wav", np.sign(np.sin(np.arange(40000) / 9)), 16000)
    soundfile.write(root / "nan.wav", np.full(40000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(root / "dot.wav", np.full(20, 0.5), 16000)
    data = (root / "sub" / "deep" / "b.flac").read_bytes()
    (root / "cut.flac").write_bytes(data[: len(data) // 2])
    (root / "text.wav").write_text("no sound")
    (root / "empty.wav").write_bytes(b"")
    (root / "notes.md").write_text("about these clips")
    (root / "film.mp4").write_bytes(b"\0" * 100)
    (root / ".hidden.wav").write_bytes(b"x")
    (root / "link.wav").symlink_to(root / "a.wav")
    return {
        "unreadable": 2,  # cut.flac, film.mp4
        "not_audio": 3,  # notes.md, text.wav, empty.wav
        "not_finite": 1,
        "too_short": 1,
        "hidden": 1,
        "link": 1,
        "silent": 2,
        "duplicate": 1,
        "other_rate": 1,
        "padded": 1,
        "clipped": 1,
    }


def test_each_kind_of_bad_file_is_counted_once_and_named(tmp_path):
    expected = _bad_folder(tmp_path)
    clips = open_clips(tmp_path, AUTHORS)
    assert _names(clips) == sorted(_names(clips))
    usable = _read_all(clips)
    assert usable == _read_all(clips)  # and no count changes
    clips.inspect_all()
    assert {k: n for k, n in clips.problems.counts.items() if n} == expected
    assert set(usable) == {
        *("a.wav", "faint.wav", "loud.wav", "rate.ogg", "short.wav", "silent.wav"),
        *("sub/deep/b.flac", "twin.wav"),
    }
    assert [clips.clips[i].name for i in clips.usable] == usable
    entries, lines = clips.problems.as_dict(), "\n".join(clips.problems.lines())
    assert set(entries["silent"]["names"]) == {"silent.wav", "faint.wav"}
    assert entries["duplicate"]["reasons"] == ["as a.wav"]
    assert "left out 1, with NaN or infinity: nan.wav" in lines
    assert "convert it first (ffmpeg" in lines
    assert json.loads(json.dumps(entries)) == entries


def test_inspection_gives_the_counts_that_reading_gives(tmp_path):
    expected = _bad_folder(tmp_path)
    clips, steps = open_clips(tmp_path, AUTHORS), []
    clips.inspect_all(steps.append)
    assert {k: n for k, n in clips.problems.counts.items() if n} == expected
    assert len(steps) == len(clips)
    assert clips.rates == {16000: 7, 44100: 1}


def test_silence_is_kept_counted_and_warned_of(tmp_path):
    for number in range(3):
        _tone(tmp_path / "good" / f"{number}.wav", number=number)
        _tone(tmp_path / "mute" / f"{number}.wav", gain=0.0, seconds=2.5 + number)
    mute, good = (open_clips(tmp_path / name, AUTHORS) for name in ("mute", "good"))
    for clips in (mute, good):
        assert len(_read_all(clips)) == 3
    assert (mute.silent_share, good.silent_share) == (1.0, 0.0)
    assert good.warnings() == []
    (warning,) = mute.warnings()
    assert "3 of 3 clips (100.0%) are silent (0.wav, 1.wav, 2.wav)" in warning
    assert len(mute.usable) == 3


def test_a_mean_of_channels_that_cancel_is_silent(tmp_path):
    wave = 0.5 * np.sin(np.arange(48000) / 20)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1), 16000)
    spec = PROTOCOLS["musicnn"].slot("fad")
    clips = open_clips(tmp_path, PROTOCOLS["musicnn"])
    clips.read(clips.clips[0], spec.loader, spec.sample_rate)
    assert clips.silent_share == 1.0 and clips.problems.counts["silent"] == 1


def test_warnings_name_duplicates_clipping_rates_and_what_is_left_out(tmp_path):
    _bad_folder(tmp_path)
    clips = open_clips(tmp_path, AUTHORS)
    clips.inspect_all()
    text = "\n".join(clips.warnings())
    for part in (
        "2 of 8 clips (25.0%) are silent",
        "6 clips are left out, 8 are read",
        "1 of 8 clips repeat others byte for byte",
        "1 of 8 clips are clipped",
        "7 at 16000, 1 at 44100 Hz",
    ):
        assert part in text


def test_hash_is_of_the_bytes(tmp_path):
    for name in ("a", "b"):
        _tone(tmp_path / f"{name}.wav", number=ord(name))
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    (tmp_path / "d.wav").write_text("no sound")
    clips = open_clips(tmp_path, AUTHORS)
    a, b, c, d = clips.clips
    assert clips.content_hash(a) == clips.content_hash(c) != clips.content_hash(b)
    with pytest.raises(Unreadable, match="no audio"):
        clips.content_hash(d)


def test_opening_decodes_nothing(tmp_path, monkeypatch):
    for number in range(4):
        _tone(tmp_path / f"{number}.wav")

    def forbidden(*args, **kwargs):
        raise AssertionError("a file was read")

    monkeypatch.setattr("audioldm2_jax.data.ingest.file_ref.FileRef.read", forbidden)
    clips = open_clips(tmp_path, AUTHORS, limit=3)
    assert _names(clips) == ["0.wav", "1.wav", "2.wav"]
    assert len(open_clips(tmp_path, dataclasses.replace(AUTHORS, limit=2), limit=3)) == 2


def test_links_are_read_when_asked_for(tmp_path):
    _tone(tmp_path / "real" / "a.wav")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "b.wav").symlink_to(tmp_path / "real" / "a.wav")
    assert _names(open_clips(tmp_path / "set", AUTHORS, follow_links=True)) == ["b.wav"]
    with pytest.raises(InputError, match=r"no sound files in it \(left out 1, a link: b.wav"):
        open_clips(tmp_path / "set", AUTHORS)


def test_one_clip_is_a_set(tmp_path):
    _tone(tmp_path / "a.wav")
    clips = open_clips(tmp_path, AUTHORS)
    assert _read_all(clips) == ["a.wav"] and clips.warnings() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such folder, table or prepared corpus"),
        ({}, "no sound files in it"),
        ({"notes.md": b"x"}, "no sound files in it .left out 1, not audio: notes.md"),
    ],
)
def test_sets_without_clips(tmp_path, content, message):
    folder = tmp_path / "set"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        open_clips(folder, AUTHORS)


def test_a_sound_file_is_no_set(tmp_path):
    with pytest.raises(InputError, match="name the folder of sound files"):
        open_clips(_tone(tmp_path / "a.wav"), AUTHORS)
    with pytest.raises(InputError, match="at least one clip"):
        open_clips(tmp_path, AUTHORS, limit=0)


def test_texts_of_a_folder(tmp_path):
    for name in ("a", "b", "c"):
        _tone(tmp_path / f"{name}.wav", number=ord(name))
    (tmp_path / "a.txt").write_text("a bell\na ringing bell\n")
    clips = open_clips(tmp_path, AUTHORS)
    assert clips.clips[0].captions == ("a bell", "a ringing bell")
    assert [clip.caption for clip in clips.clips] == ["a bell", "", ""]
    assert clips.problems.counts["no_caption"] == 2
    (tmp_path / "metadata.csv").write_text("file_name,caption,label\nb.wav,a dog,animal\n")
    assert [clip.caption for clip in open_clips(tmp_path, AUTHORS).clips] == ["a bell", "a dog", ""]


def test_records_of_generated_clips_are_texts_and_other_json_is_ignored(tmp_path):
    for name in ("a", "b"):
        _tone(tmp_path / f"{name}.wav", number=ord(name))
    record = {
        "prompt": "a bell",
        "negative_prompt": "low quality",
        "transcription": None,
        "seed": 1,
    }
    (tmp_path / "a.json").write_text(json.dumps(record))
    (tmp_path / "b.json").write_text("[1, 2")
    (tmp_path / "metadata.json").write_text('{"model": "x"}')
    clips = open_clips(tmp_path, AUTHORS)
    assert [clip.captions for clip in clips.clips] == [("a bell",), ()]
    assert _read_all(clips) == ["a.wav", "b.wav"]
    assert not any(clips.problems.counts[kind] for kind in ("not_audio", "unreadable"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "file_name,caption\na.flac,one\nb.wav,two\nz.wav,three\n"),
        ("list.csv", "ytid,caption\na,one\nb,two\nz,three\n"),
        (
            "list.jsonl",
            '{"location": "elsewhere/a.wav", "captions": ["one", "uno"]}\n'
            '{"location": "b.wav", "captions": "two"}\n{"location": "z.wav", "captions": "three"}',
        ),
        (
            "list.json",
            json.dumps({"data": [{"wav": f"{n}.wav", "caption": c} for n, c in zip("abz", "123")]})
            .replace('"1"', '"one"')
            .replace('"2"', '"two"'),
        ),
    ],
)
def test_captions_from_a_list_elsewhere(tmp_path, name, content):
    for clip in ("a", "b", "c"):
        _tone(tmp_path / "audio" / f"{clip}.wav", number=ord(clip))
    (tmp_path / name).write_text(content)
    clips = open_clips(tmp_path / "audio", AUTHORS, captions=tmp_path / name)
    assert [clip.caption for clip in clips.clips] == ["one", "two", ""]
    counts = clips.problems.counts
    assert (counts["missing"], counts["no_caption"]) == (1, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "the table has no rows|no header|empty"),
        ("colour,caption\nred,a bell\n", "no column names the audio files"),
        ("file_name,caption\na.wav,\xe9".encode("latin-1"), "line 2 is not UTF-8"),
    ],
)
def test_bad_tables_of_captions(tmp_path, content, message):
    _tone(tmp_path / "audio" / "a.wav")
    table = tmp_path / "list.csv"
    if content is not None:
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as error:
        open_clips(tmp_path / "audio", AUTHORS, captions=table)
    assert "list.csv" in str(error.value)


def test_captions_by_name(tmp_path):
    for clip in ("a", "b"):
        _tone(tmp_path / f"{clip}.wav", number=ord(clip))
    clips = open_clips(tmp_path, AUTHORS, captions={"a": "one", "b.wav": "two"})
    assert [clip.caption for clip in clips.clips] == ["one", "two"]


def test_a_list_beside_the_audio_is_a_set(tmp_path):
    for clip in ("a", "b", "c"):
        _tone(tmp_path / "wavs" / f"{clip}.wav", number=ord(clip))
    table = tmp_path / "list.csv"
    table.write_text(
        "wav,caption,labels,transcript\nwavs/b.wav,one,x;y,hi\nwavs/b.wav,two,,\nwavs/z.wav,three,,"
    )
    clips = open_clips(table, AUTHORS)
    (clip,) = clips.clips
    assert (clip.name, clip.captions, clip.labels) == ("wavs/b.wav", ("one", "two"), ("x", "y"))
    assert clip.transcript == "hi" and clips.problems.counts["missing"] == 1
    assert _read_all(clips) == ["wavs/b.wav"]


def test_a_prepared_corpus_is_a_set(tmp_path):
    folder = write_corpus(tmp_path / "tones", 3, seconds=2.5, splits=("train", "test"))
    clips = open_clips(folder, AUTHORS)
    assert _names(clips) == ["test/0", "test/1", "test/2"]
    clip = clips.clips[1]
    assert clip.caption == "tone 1" and clip.captions[1] == "a sine, number 1"
    assert clip.labels == ("odd", "tone") and clip.transcript == "this is tone number 1"
    assert len(_read_all(clips)) == 3
    assert _names(open_clips(folder, AUTHORS, split="train", limit=1)) == ["train/0"]
    with pytest.raises(InputError, match="no split 'dev'; it has test train"):
        open_clips(folder, AUTHORS, split="dev")
