"""The synthetic corpus on disk: stopped builds go on, settings are kept, examples are seen."""

import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from audioldm2_jax.cli.main import main
from audioldm2_jax.data.soundscapes import SOUND_CLASSES, build, make_clip


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of four clips."""
    monkeypatch.setattr(build, "SHARD_CLIPS", 4)


def test_a_build_is_its_clips(small_parts, tmp_path):
    results = build.build(tmp_path / "corpus", 10, seed=3, seconds=1.0, workers=1)
    lines = [
        json.loads(x) for x in (tmp_path / "corpus" / "metadata.jsonl").read_text().split("\n") if x
    ]
    assert [line["wav"] for line in lines] == [f"audio/{i:07d}.flac" for i in range(10)]
    for index in (0, 5, 9):
        wave, rate = soundfile.read(tmp_path / "corpus" / lines[index]["wav"])
        clip = make_clip(3, index, seconds=1.0)
        assert rate == 16000
        np.testing.assert_allclose(wave, clip.audio, atol=1e-4)
        assert lines[index]["caption_1"] == clip.captions[0]
        assert lines[index]["labels"] == clip.labels
    assert results["clips"] == 10 and results["hours"] == pytest.approx(10 / 3600, abs=1e-3)
    assert sum(results["kinds"].values()) == 10


def test_a_stopped_build_goes_on(small_parts, tmp_path, monkeypatch):
    outputs, write = [], build.make_clip

    def counted(seed, index, **settings):
        if index == 6 and not outputs.count(6):
            outputs.append(6)
            raise KeyboardInterrupt
        outputs.append(index)
        return write(seed, index, **settings)

    monkeypatch.setattr(build, "make_clip", counted)
    with pytest.raises(KeyboardInterrupt):
        build.build(tmp_path / "corpus", 10, seconds=1.0, workers=1)
    assert not (tmp_path / "corpus" / "metadata.jsonl").exists()
    outputs.clear()
    outputs.append(6)
    build.build(tmp_path / "corpus", 10, seconds=1.0, workers=1)
    assert outputs[1:] == [4, 5, 6, 7, 8, 9], "the first part was whole"
    build.build(tmp_path / "whole", 10, seconds=1.0, workers=1)
    one, other = (tmp_path / name / "metadata.jsonl" for name in ("corpus", "whole"))
    assert one.read_text() == other.read_text()


def test_other_settings_are_another_corpus(small_parts, tmp_path, capsys):
    assert (
        main(
            [
                "soundscapes",
                str(tmp_path / "a"),
                "--count",
                "4",
                "-dur",
                "1",
                "--workers",
                "1",
                "-q",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["clips"] == 4
    words = ["--count", "4", "-dur", "1", "--workers", "1", "--kinds", "one=3", "-q"]
    assert main(["soundscapes", str(tmp_path / "one"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == {"one": 4}
    words[-3:-1] = ["--classes", "beep, rain"]
    assert main(["soundscapes", str(tmp_path / "two"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"beep": 2, "rain": 2}
    assert main(["soundscapes", str(tmp_path / "a"), "--count", "4", "--seed", "1", "-q"]) == 2
    assert "holds a build with" in capsys.readouterr().err
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    for arguments, message in (
        (["b"], "not empty"),
        (["c", "--count", "0"], "--count is 0"),
        (["c", "--speech", "2"], "--speech is 2"),
        (["c", "--classes", "beep,blip"], "class 'blip': choose of"),
        (["c", "--classes", "beep", "--speech", "1"], "--classes: give either"),
        (["c", "--speech", "1", "--voices", "loud"], "voices 'loud': choose one of"),
        (["c", "-dur", "0.1"], "--seconds is 0.1"),
        (["c", "--kinds", "one=1,duet=2"], "duet=2"),
        (["c", "--kinds", "one=-1"], "one=-1"),
        (["c", "--kinds", "one=0"], "above 0"),
    ):
        target, *rest = arguments
        assert main(["soundscapes", str(tmp_path / target), *rest, "-q"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_examples(tmp_path, capsys):
    assert main(["soundscapes", str(tmp_path / "x"), "--examples"]) == 0
    assert len(capsys.readouterr().out.split()) == len(SOUND_CLASSES)
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert names == {f"{n}.{s}" for n in SOUND_CLASSES for s in ("wav", "png")} | {"table.png"}
    picture = np.asarray(Image.open(tmp_path / "x" / "tone.png").convert("RGB"))
    assert picture.shape == (96, 256, 3)
    # A pure tone is one bright line.
    assert (picture.sum(-1) > 500).any(1).mean() < 0.3


def test_a_refusal_comes_without_a_progress_bar(tmp_path, capsys):
    from audioldm2_jax.cli.main import main

    assert main(["soundscapes", str(tmp_path / "out"), "--count", "2", "--classes", "nope"]) == 2
    error = capsys.readouterr().err
    assert "nope" in error and error.count("\n") == 1 and "clip/s" not in error
