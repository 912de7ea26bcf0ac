"""Pitches and notes of synthetic tones, and their scores against the definitions."""

import mir_eval
import numpy as np
import pytest

from audioldm2_jax.evaluation.judges import note_tracking, notes, pitch
from audioldm2_jax.evaluation.judges.note_tracking import Note, Span, track
from audioldm2_jax.evaluation.judges.pitch import Pitch

RATE = 32000
# (MIDI pitch, onset in seconds)
MELODY = [(60, 0.3), (64, 0.8), (67, 1.3), (72, 1.8), (65, 2.6), (62, 3.3)]


def hertz(midi):
    return 440 * 2 ** ((midi - 69) / 12)


def tone(frequency, seconds=0.45, decay=2.5):
    """Three harmonics that fall off like a plucked string's."""
    time = np.arange(int(seconds * RATE)) / RATE
    loudness = 0.3 * np.exp(-decay * time) * np.minimum(1, time / 0.005)
    return loudness * sum(np.sin(2 * np.pi * frequency * k * time) / k**2 for k in (1, 2, 3))


def play(melody):
    wave = np.zeros(int(4.5 * RATE))
    for midi, onset in melody:
        sound, start = tone(hertz(midi)), int(onset * RATE)
        wave[start : start + len(sound)] += sound
    return wave


def as_notes(melody):
    return [Note(onset, onset + 0.45, midi, 1.0) for midi, onset in melody]


@pytest.mark.parametrize("frequency", [80.0, 220.0, 446.0, 700.0])
def test_pitch_of_a_harmonic_tone(frequency):
    (frames,) = pitch.fundamental([tone(frequency, 1.0, decay=0)], RATE)
    cents = 1200 * np.log2(frames.hertz[frames.voiced] / frequency)
    assert abs(np.median(cents)) < 8 and frames.voiced.mean() > 0.9
    assert len(frames.hertz) == int(1.0 / pitch.HOP)


def test_silence_and_noise_have_no_pitch():
    noise = np.random.default_rng(0).standard_normal(RATE)
    for frames in pitch.fundamental([np.zeros(RATE), np.zeros(3), 0.1 * noise], RATE):
        assert len(frames.hertz) and frames.voiced.mean() < 0.1


def test_pitch_accuracy_of_transposed_tones():
    low, sharp, other = pitch.fundamental(
        [tone(hertz(midi), 1.0, decay=0.5) for midi in (57, 57.3, 58)], RATE
    )
    assert pitch.pitch_accuracy(low, low) == 1
    assert pitch.pitch_accuracy(low, sharp) > 0.9
    assert pitch.pitch_accuracy(low, other) < 0.1


def test_pitch_accuracy_by_hand():
    def frames(*values):
        values = np.array(values, float)
        return Pitch(np.where(values, values, 1), (values > 0).astype(float))

    reference = frames(100, 100, 100, 100, 0)
    assert pitch.pitch_accuracy(reference, frames(100, 102.8, 103, 0, 100)) == 0.5
    assert pitch.pitch_accuracy(reference, frames(100)) == 0.25
    assert np.isnan(pitch.pitch_accuracy(frames(0, 0), frames(100, 100)))


def test_notes_of_a_melody():
    (transcript,) = notes.transcribe([play(MELODY)], RATE)
    assert notes.note_f1(as_notes(MELODY), transcript) > 0.9
    louder = [n for n in transcript if n.amplitude > 0.5]
    assert [n.pitch for n in louder] == [midi for midi, _ in MELODY]
    np.testing.assert_allclose([n.onset for n in louder], [o for _, o in MELODY], atol=0.04)
    np.testing.assert_allclose([n.offset - n.onset for n in louder], 0.45, atol=0.1)
    # Another melody in the same rhythm.
    other = [(midi + 1, onset) for midi, onset in MELODY]
    assert notes.note_f1(as_notes(other), transcript) < 0.2


def test_judges_hear_a_wrong_note():
    wrong = [*MELODY[:-1], (63, 3.3)]
    clips = [("x", play(melody), RATE, None) for melody in (MELODY, wrong)]
    right = [clips[0]] * 2
    f1 = notes.JUDGE.run(clips, right)["note_F1"].values
    accuracy = pitch.JUDGE.run(clips, right)["pitch_accuracy"].values
    assert f1[0] == accuracy[0] == 1
    assert 0.6 < f1[1] < 0.95 and 0.6 < accuracy[1] < 0.95


def test_times_do_not_drift_over_windows():
    """A click train of notes, half a second apart over 12 seconds: eight windows."""
    onsets = np.arange(0.25, 11.5, 0.5)
    wave = np.zeros(12 * RATE)
    for onset in onsets:
        sound, start = tone(440, 0.3, decay=6), int(onset * RATE)
        wave[start : start + len(sound)] += sound
    (transcript,) = notes.transcribe([wave], RATE)
    played = [n.onset for n in transcript if n.pitch == 69]
    np.testing.assert_allclose(played, onsets, atol=0.025)


def test_note_f1_is_mir_evals():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sides = [
            [
                Note(o, o + 0.2, int(p), 1.0)
                for o, p in zip(rng.uniform(0, 2, n).round(2), rng.integers(60, 64, n))
            ]
            for n in rng.integers(1, 30, 2)
        ]
        arrays = []
        for side in sides:
            arrays += [np.array([n[:2] for n in side]), hertz(np.array([n.pitch for n in side]))]
        score = mir_eval.transcription.precision_recall_f1_overlap(*arrays, offset_ratio=None)[2]
        assert notes.note_f1(*sides) == pytest.approx(score, abs=1e-12)
    assert notes.note_f1(sides[0], []) == 0 and np.isnan(notes.note_f1([], sides[0]))


def test_notes_are_traced_from_onsets_and_from_maxima():
    """Two notes of one pitch that touch, parted by the onset; one note without onset; a blip."""
    probabilities, onsets = np.zeros((100, 88)), np.zeros((100, 88))
    probabilities[10:60, 40] = 0.8
    probabilities[10:60, 41] = 0.4  # leaks into the next pitch, which is no note of its own
    onsets[10, 40], onsets[35, 40] = 0.9, 0.7
    probabilities[20:70, 7] = np.sin(np.linspace(0.5, np.pi - 0.5, 50)) * 0.9
    onsets[5, 60], probabilities[5:12, 60] = 0.9, 0.9  # 7 frames are too short
    spans = sorted(track(probabilities, onsets))
    # Basic Pitch leaves out the last frame of a note that it traces from its maximum.
    assert [s[:3] for s in spans] == [(10, 35, 61), (20, 69, 28), (35, 60, 61)]
    assert spans[0].amplitude == pytest.approx(0.8)
    assert track(np.zeros((0, 88)), np.zeros((0, 88))) == track(np.zeros((1, 88)), onsets[:1]) == []


def test_a_short_gap_does_not_end_a_note():
    for gap, expected in ((10, [(10, 80)]), (12, [(10, 40), (52, 79)])):
        probabilities, onsets = np.zeros((100, 88)), np.zeros((100, 88))
        probabilities[10:80, 30] = 0.45
        probabilities[40 : 40 + gap, 30] = 0.25
        probabilities[5:9, 70] = onsets[10, 30] = 0.9  # a large rise, beside which others are none
        assert sorted(s[:2] for s in track(probabilities, onsets)) == expected


def test_a_rise_counts_as_an_onset():
    probabilities = np.zeros((30, 88))
    probabilities[10:25, 3] = 0.6
    onsets = np.full((30, 88), 0.1)
    onsets[2, 80] = 0.5
    strength = note_tracking.onset_strength(probabilities, onsets)
    assert strength[10, 3] == 0.5 and strength[12, 3] == 0.1
    assert isinstance(track(probabilities, onsets)[0], Span)
