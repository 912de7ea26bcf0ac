"""Pitch and number against what the synthetic corpus was made with."""

import numpy as np
import pytest

from audioldm2_jax.data.soundscapes import SOUND_CLASSES, make_clip
from audioldm2_jax.evaluation.metrics.attributes import (
    count,
    count_accuracy,
    pitch,
    pitch_accuracy,
    semitones,
)


@pytest.mark.parametrize("name", [name for name, sound in SOUND_CLASSES.items() if sound.notes])
def test_pitch(name):
    for index in range(4):
        clip = make_clip(5, index, seconds=2.56, only=name)
        measured = pitch(clip.audio, clip.sample_rate)
        assert abs(semitones(measured, clip.events[0]["pitch"])) < 1


def test_semitones():
    assert semitones(880, 440) == pytest.approx(12)
    assert semitones(415.30, 440) == pytest.approx(-1, abs=1e-3)


def test_count():
    """Of sounds that stand apart nearly all are counted right."""
    clear = ("knock", "dog_bark", "bird_chirp", "snare_drum", "car_horn", "long_beep", "hand_clap")
    right = []
    for name in clear:
        for index in range(8):
            clip = make_clip(5, index, seconds=2.56, only=name)
            right.append(count(clip.audio, clip.sample_rate) == clip.events[0]["count"])
    assert np.mean(right) > 0.9


def test_silence():
    assert np.isnan(pitch(np.zeros(16000, np.float32), 16000))
    assert count(np.zeros(16000, np.float32), 16000) == 0


def test_accuracy_of_attributes():
    """Of sines: an octave off counts as another octave; silence as wrong."""
    times = np.arange(16000) / 16000
    waves = [0.3 * np.sin(2 * np.pi * hertz * times) for hertz in (220, 440, 440)]
    waves = np.asarray([*waves, np.zeros(16000)], np.float32)
    shares = pitch_accuracy(waves, [220, 440, 220, 220], 16000)
    assert shares == {"within a semitone": 0.5, "or octaves": 0.75}
    assert count_accuracy(waves, [1, 1, 2, 0], 16000) == 0.75
