"""Saving clips: names, levels, kinds of files; together or not at all. No model takes part."""

import errno
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from audioldm2_jax import audio, files
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines import file_names
from audioldm2_jax.pipelines.output import Output, check_target

RATE = 16000


def output(*prompts, peak=0.3, transcriptions=None, rate=RATE, seconds=0.5):
    rng = np.random.default_rng(0)
    waves = rng.standard_normal((len(prompts), 1, int(seconds * rate))).astype(np.float32)
    waves *= peak / np.abs(waves).max(-1, keepdims=True)
    metadata = {
        "prompts": list(prompts),
        "transcriptions": transcriptions,
        "negative_prompts": [],
        "candidates": 1,
        "first_clip": 0,
        "seed": 0,
    }
    return Output(waves, rate, metadata, lambda: None)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_clip_is_a_sound_and_its_record(tmp_path):
    (path,) = output("loud rain", peak=4.0).save(tmp_path / "a" / "b", pictures=True)
    assert names(path.parent) == ["loud_rain.json", "loud_rain.png", "loud_rain.wav"]
    wave, rate = soundfile.read(path)
    assert rate == RATE and np.abs(wave).max() < 0.9
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["prompt"] == "loud rain" and record["loudness"] == "auto"
    assert record["peak"] == pytest.approx(4.0) and record["clipped_samples"] == 0
    assert record["gain_db"] < -13 and record["lufs"] > 0


def test_raw_is_what_the_network_made(tmp_path):
    out = output("rain", peak=4.0)
    (path,) = out.save(tmp_path, loudness="raw")
    wave, _ = soundfile.read(path)
    np.testing.assert_allclose(wave, np.clip(out.audio[0], -1, 1), atol=1e-4)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["clipped_samples"] == (np.abs(out.audio[0]) > 1).sum() > 0
    assert record["gain_db"] == 0 and np.abs(out.audio).max() == pytest.approx(4.0)


def test_silence_and_nan(tmp_path):
    (path,) = output("rain", peak=0.0).save(tmp_path)
    assert json.loads(path.with_suffix(".json").read_text())["lufs"] is None
    out = output("rain", "wind")
    out.candidates[1, 0, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        out.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "FLAC", ".ogg"])
def test_kinds_of_files(tmp_path, kind):
    out = output("rain", seconds=1.0)
    (path,) = out.save(tmp_path, format=kind, loudness="raw")
    assert path.suffix == f".{kind.lower().strip('.')}"
    info = soundfile.info(path)
    assert info.samplerate == RATE and info.channels == 1
    wave, _ = soundfile.read(path)
    # Lossy codecs pad and change the noise; the level stays.
    assert np.std(wave) == pytest.approx(np.std(out.audio), rel=0.35)
    if path.suffix in (".wav", ".flac"):
        assert info.subtype == "PCM_16"
        np.testing.assert_allclose(wave, out.audio[0], atol=1e-4)


def test_names_decide_the_kind(tmp_path):
    given = ["a.FLAC", "b", "c.ogg", "d.wav.wav", "e.mp3", "f.txt"]
    paths = output(*given).save(tmp_path, given, format="flac")
    assert [p.name for p in paths] == [
        *("a.FLAC", "b.flac", "c.ogg", "d.wav.wav", "e.mp3"),
        "f.txt.flac",
    ]
    kinds = [soundfile.info(path).format for path in paths]
    assert kinds == ["FLAC", "FLAC", "OGG", "WAV", "MP3", "FLAC"]
    assert (tmp_path / "d.wav.json").is_file()


@pytest.mark.parametrize("kind", ["m4a", "", None, "wav flac", "../x", 3])
def test_other_kinds_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match="choose one of wav flac ogg mp3"):
        output("rain").save(tmp_path / "out", format=kind)
    assert not (tmp_path / "out").exists()


def test_rates_that_a_format_lacks_are_refused():
    with pytest.raises(InputError, match="MP3 at 12345 Hz"):
        audio.encode_audio(np.zeros(100, np.float32), 12345, ".mp3")


# Pairs that some file system holds for one file, or that share a record.
ALIKE = [
    ("a", "a"),
    ("a", "A"),
    ("a.wav", "a"),
    ("a.wav", "a.flac"),
    ("a.WAV", "a.wav"),
    ("Ä", "a\u0308".upper()),
    ("ä", "a\u0308"),
    ("Ä.wav", "a\u0308.ogg"),
    ("straße", "STRASSE"),
    ("\u212b", "\u00e5"),
    ("a.", "a"),
    ("a .wav", "a"),
    ("a\u200b", "a"),
    ("ﬁ", "ﬁ".casefold()),
]


@pytest.mark.parametrize("pair", ALIKE)
def test_names_that_are_one_file_are_refused(tmp_path, pair):
    with pytest.raises(InputError, match="stands twice"):
        output("x", "y").save(tmp_path / "out", list(pair))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "pair", [("a.wav.wav", "a.wav"), ("a.json", "a"), ("a_2", "a"), ("é", "e")]
)
def test_names_that_differ_give_all_files(tmp_path, pair):
    paths = output("x", "y").save(tmp_path, list(pair), pictures=True)
    assert len(names(tmp_path)) == 6
    for path, prompt in zip(paths, "xy"):
        record = json.loads(file_names.beside(path, ".json").read_text())
        assert record["prompt"] == prompt


UNUSABLE = [
    "",
    ".wav",
    " ",
    ".",
    "..",
    "a/b",
    "/etc/x",
    "a\\b",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "x" * 251,
]
UNUSABLE += ["é" * 126, "\ud800", 3, None]


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_names(tmp_path, name):
    with pytest.raises(InputError, match="file name"):
        output("x").save(tmp_path / "out", [name])
    assert not (tmp_path / "out").exists()
    assert names(tmp_path) == []


def test_the_longest_name(tmp_path):
    (path,) = output("x").save(tmp_path, ["é" * 125], pictures=True)
    assert len(os.fsencode(path.with_suffix(".json").name)) == 255 and len(names(tmp_path)) == 3


STEMS = {
    "loud rain": "loud_rain",
    "雨の音": "雨の音",
    "шум дождя!": "шум_дождя",
    "cafe\u0301 crème": "café_crème",
    "a/b\\c": "a_b_c",
    "../../etc/passwd": "etc_passwd",
    "🎸 solo 🎸": "solo",
    "🎸": "clip",
    "...": "clip",
    "-rf": "rf",
    "con": "con_",
    "NUL": "NUL_",
    "lpt1": "lpt1_",
    "कुत्ता भौंकता है": "कुत्ता_भौंकता_है",
    "a\x1b[31mb\u2028c": "a_31mb_c",
    "x\ud800y": "x_y",
}


@pytest.mark.parametrize("prompt", STEMS)
def test_stems(prompt):
    assert file_names.file_stem(prompt) == STEMS[prompt]


@pytest.mark.parametrize(
    "prompt", ["long " * 100, "雨" * 300, "é" * 300, "a\u0308" * 300, "𝒳" * 300]
)
def test_long_prompts_have_short_names(tmp_path, prompt):
    for transcriptions in (None, [prompt]):
        (path,) = output(prompt, transcriptions=transcriptions).save(tmp_path)
        assert len(os.fsencode(path.name)) < 143
        assert unicodedata.is_normalized("NFC", path.stem)


def test_automatic_names_replace_nothing(tmp_path):
    (tmp_path / "rain.json").write_text("mine")
    (tmp_path / "WIND.flac").write_text("mine")
    (tmp_path / "sea.png").mkdir()
    paths = output("rain", "rain!", "Rain", "wind", "sea").save(tmp_path, pictures=True)
    assert [p.stem for p in paths] == ["rain_2", "rain_3", "Rain_4", "wind_2", "sea_2"]
    assert (tmp_path / "rain.json").read_text() == "mine"
    again = output("rain").save(tmp_path, format="ogg")
    assert again[0].name == "rain_5.ogg"


@pytest.mark.parametrize("kind", [".wav", ".json", ".png"])
def test_a_folder_where_a_file_belongs(tmp_path, kind):
    (tmp_path / f"a{kind}").mkdir()
    with pytest.raises(InputError, match=f"a{kind}: a folder"):
        output("x").save(tmp_path, ["a"], pictures=True)
    assert names(tmp_path) == [f"a{kind}"]


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / ("x" * 300), "/proc/x"):
        with pytest.raises(InputError, match="cannot write there"):
            output("x").save(folder)
    for folder in ("a\0b", None):
        with pytest.raises(InputError):
            check_target(folder, None)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("full", [".wav", ".json", ".png"])
def test_a_full_disk_leaves_nothing_that_looks_finished(tmp_path, monkeypatch, full):
    """Whichever of the three files does not fit: old ones stay whole, new ones do not appear."""
    out = output("x", "y")
    out.save(tmp_path, ["a", "b"], pictures=True)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write = Path.write_bytes

    def short(path, content):
        if path.suffix == full:
            write(path, content[:50])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", short)
    with pytest.raises(InputError, match=f"b?a{full}.*No space left on device"):
        output("new", "newer").save(tmp_path, ["a", "c"], pictures=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_files_appear_together(tmp_path):
    with pytest.raises(InputError, match="b: no file can have this name"):
        (tmp_path / "b").mkdir()
        files.write_together({tmp_path / "a": b"a", tmp_path / "b": b"b"})
    assert names(tmp_path) == ["b"]


def test_pictures_tell_what_they_show(tmp_path):
    (path,) = output("rain").save(tmp_path, pictures=True)
    file = path.with_suffix(".png")
    assert file.stat().st_size < 60_000
    with Image.open(file) as picture:
        assert picture.size == (656, 274)


def test_candidates_can_be_clips_of_their_own(tmp_path):
    out = output("rain", "wind", transcriptions=["a", "b"])
    waves = out.candidates.repeat(3, 1) * np.array([1.0, 0.5, 0.25], np.float32)[:, None]
    metadata = out.metadata | {"candidates": 3, "first_clip": 4, "negative_prompts": ["x", "y"]}
    scores = np.arange(6.0).reshape(2, 3)
    separate = Output(waves, RATE, metadata, lambda: scores).separate()
    np.testing.assert_array_equal(separate.audio, waves.reshape(6, -1))
    np.testing.assert_array_equal(separate.scores[:, 0], np.arange(6))
    paths = separate.save(tmp_path)
    records = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    assert [r["prompt"] for r in records] == ["rain"] * 3 + ["wind"] * 3
    assert [r["first_clip"] for r in records] == list(range(4, 10))
    assert records[5]["transcription"] == "b" and records[5]["negative_prompt"] == "y"
    assert {r["candidates"] for r in records} == {1}
