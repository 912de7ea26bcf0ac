"""PSNR, SSIM and LSD follow the protocol: shift, equal pairs, and clips as pairs are read."""

import dataclasses

import numpy as np
import pytest
import soundfile

from audioldm2_jax.evaluation.evaluate import evaluate
from audioldm2_jax.evaluation.metrics import reconstruction
from audioldm2_jax.evaluation.metrics.reconstruction import lsd, psnr, ssim
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.evaluation.waveform_pairs import waveform_scores
from tests.evaluation.clip_folders import RATE, tone

AUTHORS = PROTOCOLS["audioldm_eval"]
PLAIN = dataclasses.replace(AUTHORS, lsd_shift_samples=0, skip_equal_pairs=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two folders of four clips; two pairs are equal. And the waveforms of the other two."""
    root = tmp_path_factory.mktemp("pairs")
    waves = {}
    for name, seed in (("theirs", 0), ("ours", 7)):
        (root / name).mkdir()
        waves[name] = [tone(i) + 0.1 * tone(i + seed) for i in range(4)]
    waves["ours"][2:] = waves["theirs"][2:]
    for name, clips in waves.items():
        for i, wave in enumerate(clips):
            soundfile.write(root / name / f"{i}.wav", wave, RATE, subtype="FLOAT")
    pairs = [[wave - wave.mean() for wave in pair] for pair in zip(waves["theirs"], waves["ours"])]
    return root, pairs


def score(root, protocol, ours="ours"):
    return evaluate(
        root / ours, root / "theirs", protocol, "PSNR,SSIM,LSD", bootstrap=0, progress=False
    )


@pytest.mark.parametrize("name", ["audioldm_eval", "tango"])
def test_figures_of_toolkits(sets, name):
    """Clips of 0.4 s as they are, not with zeros up to the 2 s of networks."""
    root, pairs = sets
    result = score(root, PROTOCOLS[name])
    differ = pairs[:2]
    for metric, function in (("PSNR", psnr), ("SSIM", ssim)):
        figure = result.figure(metric)
        expected = np.mean([function(*pair, RATE) for pair in differ])
        assert figure.n == 2 and figure.value == pytest.approx(expected, rel=1e-4)
        assert figure.note.startswith("2 pairs equal, ") and "without a score" not in figure.note
    expected = np.mean([lsd(x, y, RATE, shift_samples=7 * 160) for x, y in pairs])
    assert result.figure("LSD").value == pytest.approx(expected, rel=1e-4)
    assert "1120 samples" in result.figure("LSD").note
    assert [sorted({"PSNR", "SSIM"} & clip.keys()) for clip in result.clips[1:3]] == [
        ["PSNR", "SSIM"],
        [],
    ]


def test_rules_are_the_protocols(sets):
    root, pairs = sets
    result = score(root, PLAIN)
    assert result.figure("PSNR").note.startswith("2 pairs equal, PSNR infinite")
    assert result.figure("SSIM").n == 4 and "equal" not in result.figure("SSIM").note
    expected = np.mean([lsd(*pair, RATE) for pair in pairs])
    assert result.figure("LSD").value == pytest.approx(expected, rel=1e-4)


def test_a_pair_has_two_mels(monkeypatch):
    calls, mel_image = [], reconstruction.mel_image
    monkeypatch.setattr(
        reconstruction, "mel_image", lambda *args: calls.append(args) or mel_image(*args)
    )
    x, y = tone(0), tone(0) + 0.1 * tone(3)
    scores = waveform_scores(x, y, RATE, ("PSNR", "SSIM", "LSD"), AUTHORS)
    assert len(calls) == 2
    assert scores["PSNR"] == psnr(x, y, RATE) and scores["SSIM"] == ssim(x, y, RATE)


def test_only_equal_pairs_have_no_psnr(sets):
    root, _ = sets
    figure = score(root, AUTHORS, ours="theirs").figure("PSNR")
    assert figure.value is None and "4 pairs equal, PSNR infinite" in figure.note


def test_the_shift_is_as_many_samples_at_32_khz():
    assert PROTOCOLS["audioldm_eval_32k"].lsd_shift_samples == 7 * 160
    assert PROTOCOLS["musicnn"].lsd_shift_samples == 0
