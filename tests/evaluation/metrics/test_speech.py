"""Error rates, length, rhythm and spectrum of speech, on sounds whose values are known."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
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


def edits_by_recursion(x, y):
    if not x or not y:
        return len(x) + len(y)
    if x[0] == y[0]:
        return edits_by_recursion(x[1:], y[1:])
    return 1 + min(
        edits_by_recursion(x[1:], y),
        edits_by_recursion(x, y[1:]),
        edits_by_recursion(x[1:], y[1:]),
    )


def test_edits_are_the_fewest():
    assert speech.edits("kitten", "sitting") == 3
    rng = np.random.default_rng(0)
    for _ in range(60):
        x, y = ("".join(rng.choice(list("abc"), rng.integers(0, 6))) for _ in range(2))
        assert speech.edits(x, y) == edits_by_recursion(x, y) == speech.edits(y, x)


def test_error_rates_are_of_the_corpus():
    """Edits and words are summed over clips: a long clip weighs more."""
    references = ["The cat sat.", "A dog, a cow... and 3 birds sang!"]
    transcripts = ["the cat sat down", "a dog a cow and three birds sing"]
    errors, words = speech.word_errors(references, transcripts)
    assert errors.tolist() == [1, 1] and words.tolist() == [3, 8]
    assert speech.word_error_rate(references, transcripts) == pytest.approx(2 / 11)
    assert speech.character_error_rate(["abcd"], ["abxd"]) == 0.25
    assert speech.character_error_rate(["a cat"], ["acat"]) == 0.2
    assert speech.word_error_rate(["dog"], ["a cat or two"]) == 4
    assert speech.word_error_rate(["dog", "cat"], ["", "cat"]) == 0.5


def test_texts_are_normalised():
    for one, other in (
        ("Mr. Smith won't go!", "mister smith will not go"),
        ("twenty-one pies", "21 pies"),
        ("[laughs] Well, um, hello (softly)", "well hello"),
        ("naïve   café", "naive cafe"),
    ):
        assert speech.normalise(one) == speech.normalise(other)
        assert speech.word_error_rate([one], [other]) == 0


def test_texts_without_words():
    for texts, message in (
        ((["..."], ["a"]), "references without words: an error rate needs at least 1"),
        ((["a", "b"], ["a"]), "1 transcripts of 2 clips"),
        (([], []), "references without words"),
    ):
        with pytest.raises(InputError, match=message):
            speech.word_error_rate(*texts)
