"""Judges' scores of a set: which clips are judged, with which transcript, and the cache."""

import dataclasses

import numpy as np
import pytest
import soundfile

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.clips import open_clips
from audioldm2_jax.evaluation.judged import judge_clips
from audioldm2_jax.evaluation.judges import JUDGES
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from tests.evaluation.clip_folders import RATE, write_clips


@pytest.fixture
def sets(tmp_path):
    folders = (write_clips(tmp_path / name, 4, seed=i) for i, name in enumerate("ab"))
    return [open_clips(folder, PROTOCOLS["audioldm_eval"]) for folder in folders]


def stand_in(name, score, monkeypatch):
    """A judge of the table whose package and network are replaced by `score`."""
    judge = dataclasses.replace(JUDGES[name], score=score)
    monkeypatch.setattr(type(judge), "missing", lambda self: None)
    monkeypatch.setattr(type(judge), "sha256", lambda self: "0" * 64)
    return judge


def loudness(calls):
    """(RMS, seconds) as value and weight of every metric."""

    def score(sound, reference):
        calls.append((sound, reference))
        value = float(np.sqrt(np.mean(sound.waveform**2)))
        metrics = ("DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_OVRL")
        return dict.fromkeys(metrics, (value, len(sound.waveform) / RATE))

    return score


def test_each_clip_is_scored_once_and_then_read(sets, tmp_path, monkeypatch):
    calls = []
    judge = stand_in("dnsmos", loudness(calls), monkeypatch)
    given = {"cache": tmp_path / "cache", "progress": False}
    scores = judge_clips(judge, *sets, {}, **given)["DNSMOS_OVRL"]
    waves = [soundfile.read(tmp_path / "a" / f"clip{i:02}.wav")[0] for i in range(4)]
    np.testing.assert_allclose(scores.values, [np.sqrt(np.mean(w**2)) for w in waves], rtol=1e-4)
    np.testing.assert_allclose(scores.weights, 0.4)
    again = judge_clips(judge, *sets, {}, **given)["DNSMOS_OVRL"]
    assert len(calls) == 4 and (again.values == scores.values).all()
    (damaged, *_) = sorted((tmp_path / "cache" / "judges" / "dnsmos").iterdir())
    whole = damaged.read_text()
    for content in ("{", "[1]", "{}", '{"DNSMOS_OVRL": 1}', whole.replace("SIG", "SIH")):
        damaged.write_text(content)
        again = judge_clips(judge, *sets, {}, **given)["DNSMOS_OVRL"]
        assert len(calls) == 5 and (again.values == scores.values).all()
        calls.pop()


def test_scores_that_another_host_has_just_written_are_no_error(sets, tmp_path, monkeypatch):
    judge = stand_in("dnsmos", loudness([]), monkeypatch)
    write, given = files.write_json, {"cache": tmp_path / "cache", "progress": False}

    def late(path, content):
        if exists:
            write(path, content)
        raise InputError("replaced")

    monkeypatch.setattr(files, "write_json", late)
    exists = True
    assert judge_clips(judge, *sets, {}, **given)["DNSMOS_SIG"].judged.size == 4
    exists = False
    with pytest.raises(InputError, match="replaced"):
        judge_clips(judge, *sets, {}, **given | {"cache": tmp_path / "other"})


def test_clips_that_cannot_be_judged_have_no_score(sets, tmp_path, monkeypatch):
    calls = []
    judge = stand_in("dnsmos", loudness(calls), monkeypatch)
    (tmp_path / "a" / "clip02.wav").write_bytes(b"no sound")
    scores = judge_clips(judge, *sets, {}, progress=False)["DNSMOS_SIG"]
    assert np.isnan(scores.values).tolist() == [False, False, True, False]
    assert scores.weights[2] == 0 and scores.judged.size == 3


def test_transcripts_come_from_the_reference_where_a_clip_has_none(sets, monkeypatch):
    generated, reference = sets
    texts, mates = [], {}
    for i, clip in enumerate(generated.clips[:3]):
        spoken = ("one", "two", "")[i]
        mates[clip.name] = dataclasses.replace(reference.clips[i], transcript=spoken)

    def score(sound, other):
        texts.append(sound.transcript)
        return {"WER": (0.5, 2.0), "CER": (float("nan"), 0.0)}

    judge = stand_in("words", score, monkeypatch)
    scores = judge_clips(judge, generated, reference, mates, progress=False)
    assert texts == ["one", "two"]
    assert np.isnan(scores["WER"].values).tolist() == [False, False, True, True]
    assert scores["WER"].mean() == 0.5 and np.isnan(scores["CER"].mean())


def test_paired_judges_hear_the_reference(sets, monkeypatch):
    generated, reference = sets
    mates = {generated.clips[1].name: reference.clips[3]}
    heard = []

    def score(sound, other):
        heard.append(other.waveform)
        return {"pitch_accuracy": (1.0, 1.0)}

    judge = stand_in("pitch", score, monkeypatch)
    scores = judge_clips(judge, generated, reference, mates, progress=False)["pitch_accuracy"]
    assert np.isfinite(scores.values).tolist() == [False, True, False, False]
    expected, _ = soundfile.read(reference.name + "/clip03.wav", dtype="float32")
    np.testing.assert_allclose(heard[0], expected, atol=1e-6)
