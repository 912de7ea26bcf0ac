"""Judges run over clips one by one, name what is missing, and never let silence score well."""

import hashlib
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from audioldm2_jax import extras
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import results
from audioldm2_jax.evaluation.judges import JUDGES, Scores
from audioldm2_jax.evaluation.judges.base import Judge, Sound, Wheel

ROOT = Path(__file__).parents[3]
METRIC_JUDGES = {metric: judge for judge in JUDGES.values() for metric in judge.metrics}
RATE = 16000


def judge(needs=""):
    """A judge of its own: the peak of the clip, less the peak of the reference."""

    def score(sound, reference):
        peak = np.abs(sound.waveform).max() - (np.abs(reference.waveform).max() if reference else 0)
        return {"peak": (float(peak), float(len(sound.transcript) or 1))}

    return Judge("peaks", ("peak",), Wheel("numpy", "numpy", "2", "BSD", ()), RATE, score, needs)


def clips(*peaks, transcript=""):
    clip = type("Clip", (), {"transcript": transcript})
    return [
        (f"{i}.wav", np.full(100, peak, np.float32), RATE, clip) for i, peak in enumerate(peaks)
    ]


def test_scores_in_order_of_clips():
    np.testing.assert_allclose(judge().run(clips(0.1, 0.5))["peak"].values, [0.1, 0.5], rtol=1e-6)
    paired = judge("pairs").run(iter(clips(0.5, 0.5)), iter(clips(0.25, 0.5)))["peak"]
    np.testing.assert_allclose(paired.values, [0.25, 0], rtol=1e-6)
    assert judge().run(clips(0.1, transcript="four"))["peak"].weights == 4
    assert judge().run([])["peak"].values.shape == (0,)


def test_pairs_must_be_pairs():
    with pytest.raises(InputError, match="need a reference"):
        judge("pairs").run(clips(0.1))
    for references in (clips(0.1), clips(0.1, 0.1, 0.1)):
        with pytest.raises(InputError, match="differ in number"):
            judge("pairs").run(clips(0.1, 0.1), references)


@pytest.mark.parametrize("bad", [np.full(9, np.nan), np.zeros((9, 2))], ids=["NaN", "stereo"])
def test_bad_clips_are_refused_by_name(bad):
    with pytest.raises(InputError, match="clip horn.wav"):
        judge().run([("horn.wav", bad, RATE, None)])


def test_mean_is_weighted_and_leaves_out_what_is_not_judged():
    scores = Scores(np.array([1.0, np.nan, 0.5, 9.0]), np.array([1.0, 5.0, 3.0, 0.0]))
    assert [*scores.judged] == [0, 2]
    assert scores.mean() == pytest.approx((1 + 1.5) / 4)
    assert scores.mean([0, 0, 2]) == pytest.approx((1 + 1 + 1.5) / 5)
    assert np.isnan(scores.mean([1, 3])) and np.isnan(Scores(np.zeros(0), np.zeros(0)).mean())


def test_sound_is_cut_to_what_a_file_holds():
    wave = np.array([2.0, -3.0, 0.5], np.float32)
    np.testing.assert_array_equal(Sound(wave, RATE).at(RATE), [1, -1, 0.5])


def test_missing_packages_are_one_line():
    alone = Wheel("no-such", "no_such_module", "1.2", "MIT", ("x",), alone=True)
    ours = Wheel("no-such", "no_such_module", "1.2", "MIT", ("x",))
    assert alone.missing().endswith("pip install --no-deps no-such==1.2")
    assert ours.missing().endswith("pip install 'audioldm2-jax[eval]'")
    absent = Judge("absent", ("x",), alone, RATE, lambda *_: {})
    for call in (absent.sha256, lambda: absent.run(clips(0.1)), lambda: alone.path("x")):
        with pytest.raises(InputError, match="no-such is not installed"):
            call()
    with pytest.raises(InputError, match="not in the installed numpy; version 2 has it"):
        Wheel("numpy", "numpy", "2", "BSD", ()).path("weights.onnx")


def test_every_speech_and_music_metric_has_a_judge():
    assert set(METRIC_JUDGES) <= set(results.METRICS)
    for metric in "WER CER DNSMOS_OVRL speaker_similarity note_F1 pitch_accuracy".split():
        assert METRIC_JUDGES[metric].missing() is None


@pytest.mark.parametrize("name", JUDGES)
def test_versions_are_those_that_are_pinned(name):
    wheel = JUDGES[name].wheel
    assert f"\n{wheel.name}=={wheel.version}\n" in (ROOT / "constraints.txt").read_text()
    alone = f"\n{wheel.name}=={wheel.version}\n" in (ROOT / "no-deps.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wheel.alone == alone != (wheel.name in project["optional-dependencies"]["eval"])
    assert wheel.alone == (wheel.module not in extras.MODULES["eval"])
    assert re.fullmatch(r"[\w.-]+", wheel.licence)


def test_hash_is_of_the_networks_files():
    wheel = JUDGES["dnsmos"].wheel
    content = b"".join(wheel.path(file).read_bytes() for file in wheel.files)
    assert JUDGES["dnsmos"].sha256() == hashlib.sha256(content).hexdigest()
    assert len({judge.sha256() for judge in JUDGES.values()}) == len(JUDGES)


def test_silence_scores_worst():
    """As generated clips; each published network alone would give some of them good marks."""
    time = np.arange(2 * RATE) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    silent, offset = (
        [("s.wav", np.full(2 * RATE, value, np.float32), RATE, clips(0)[0][3])]
        for value in (0, 0.3)
    )
    spoken = [("s.wav", tone, RATE, None)]
    worst = {"DNSMOS_SIG": 1, "DNSMOS_BAK": 1, "DNSMOS_OVRL": 1, "note_F1": 0, "pitch_accuracy": 0}
    for metric, value in worst.items():
        for clip in (silent, offset):
            assert METRIC_JUDGES[metric].run(clip, spoken)[metric].values == [value], metric
    for metric in ("note_F1", "pitch_accuracy", "speaker_similarity"):
        assert METRIC_JUDGES[metric].run(spoken, silent)[metric].judged.size == 0
    silent = clips(0, transcript="two words")
    assert METRIC_JUDGES["WER"].run(silent)["WER"].values == [1]
