"""Length, rhythm and spectrum of speech, on sounds whose values are known."""

import numpy as np
import pytest

from audioldm2_jax.evaluation.metrics import speech

RATE = 16000


def bursts(starts, seconds=2.56, length=0.1, seed=0):
    """Noise of `length` seconds at each start."""
    rng, wave = np.random.default_rng(seed), np.zeros(int(seconds * RATE))
    for start in starts:
        place = slice(int(start * RATE), int((start + length) * RATE))
        wave[place] = rng.standard_normal(len(wave[place]))
    return wave


def test_span_is_where_sound_is():
    onset, end = speech.span(bursts([0.5, 1.2]), RATE)
    assert onset == pytest.approx(0.5, abs=0.04) and end == pytest.approx(1.3, abs=0.04)
    assert np.isnan(speech.span(np.zeros(RATE), RATE)).all()


def test_rhythm_is_of_times_not_of_voices_or_onsets():
    beat = np.array([0.0, 0.2, 0.5, 0.6, 1.0, 1.3])
    reference = bursts(0.3 + beat)
    assert speech.rhythm(0.2 * bursts(0.5 + beat, seed=1), reference, RATE) > 0.9
    assert speech.rhythm(bursts(0.3 + 1.3 - beat[::-1], seed=1), reference, RATE) < 0.5
    assert np.isnan(speech.rhythm(np.zeros(RATE), reference, RATE))


def test_mel_distance_follows_time():
    mel = np.random.default_rng(0).standard_normal((40, 8))
    assert speech.mel_distance(mel, mel) == 0
    slow = np.repeat(mel, 2, 0)
    assert speech.mel_distance(slow, mel) == pytest.approx(0, abs=1e-9)
    other = np.random.default_rng(1).standard_normal((40, 8))
    assert speech.mel_distance(other, mel) > 0.5


def test_too_short_to_say_anything():
    assert np.isnan(speech.span(np.ones(10), RATE)).all()
    assert np.isnan(speech.rhythm(np.ones(10), bursts([0.3]), RATE))


def test_pairs_are_compared():
    beat = np.array([0.3, 0.5, 0.8, 1.4])
    references = np.stack([bursts(beat), bursts(beat[:3])])
    mel = lambda clips: np.abs(clips).reshape(len(clips), -1, 8)[:, ::64]  # noqa: E731
    same = speech.compare_speech(references, references, RATE, mel)
    assert same["seconds off"] == 0 and same["mel distance"] == 0
    assert same["correlation of envelopes"] == pytest.approx(1)
    other = speech.compare_speech(references[::-1], references, RATE, mel)
    assert other["seconds off"] == pytest.approx(0.6, abs=0.05)
    assert other["correlation of lengths"] == pytest.approx(-1)
