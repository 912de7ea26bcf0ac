"""The synthetic corpus: the same clip from the same numbers, and captions that are true."""

import re

import numpy as np
import pytest

from audioldm2_jax.data.soundscapes import SOUND_CLASSES, make_clip, music, voices
from audioldm2_jax.data.soundscapes.captions import NUMBERS, SceneElement
from audioldm2_jax.data.soundscapes.scene import KINDS
from audioldm2_jax.data.soundscapes.sound_classes import NOTES, Gesture


def test_there_are_enough_classes():
    assert len(SOUND_CLASSES) >= 60
    assert all(sound.name == name for name, sound in SOUND_CLASSES.items())
    nouns = [sound.noun for sound in SOUND_CLASSES.values()]
    assert len(set(nouns)) == len(nouns), "two classes with one name"


@pytest.mark.parametrize("name", SOUND_CLASSES)
def test_every_class_sounds(name):
    sound = SOUND_CLASSES[name]
    rng = np.random.default_rng(0)
    for seed in range(4):
        gesture = sound.draw(rng, 3.0 if sound.texture else None)
        wave = sound.render(np.random.default_rng(seed), gesture)
        assert wave.dtype == np.float32 and wave.ndim == 1
        assert abs(len(wave) / 16000 - gesture.seconds) < 0.05
        assert np.isfinite(wave).all() and wave.std() > 1e-5
    clip = make_clip(0, 5, seconds=4.0, only=name)
    assert clip.labels == [name] and clip.audio.shape == (64000,)
    assert np.abs(clip.audio).max() <= 0.951 and clip.audio.std() > 1e-3
    assert sound.noun in clip.captions[0].lower() or sound.plural in clip.captions[0].lower()


def test_the_same_numbers_give_the_same_clip():
    alone = make_clip(3, 41)
    for index in (7, 8):
        make_clip(3, index)
    again = make_clip(3, 41)
    np.testing.assert_array_equal(alone.audio, again.audio)
    assert (alone.captions, alone.events) == (again.captions, again.events)
    assert not np.array_equal(alone.audio, make_clip(4, 41).audio)
    assert not np.array_equal(alone.audio, make_clip(3, 42).audio)


@pytest.fixture(scope="module")
def clips():
    return [make_clip(0, i, seconds=5.0) for i in range(300)]


def test_kinds_and_captions_vary(clips):
    kinds = {kind: sum(clip.kind == kind for clip in clips) / len(clips) for kind in KINDS}
    for kind, share in KINDS.items():
        assert abs(kinds[kind] - share) < 0.1
    assert len({clip.captions[0] for clip in clips}) > 0.9 * len(clips)
    assert np.mean([clip.captions[0] != clip.captions[1] for clip in clips]) > 0.8


def test_captions_count_what_is_there(clips):
    """A number word stands exactly where several gestures of one class were placed."""
    for clip in clips:
        if clip.kind == "music":
            continue
        words = set(re.findall(r"[a-z]+", clip.captions[0].lower()))
        counts = {event["count"] for event in clip.events}
        assert {n for n in range(2, 7) if NUMBERS[n] in words} - {2} <= counts
        for event in clip.events:
            placed = [e for e in clip.events if e["class"] == event["class"]]
            assert len(placed) == event["count"]
            assert event["onset"] >= -1e-3 and event["onset"] + event["seconds"] <= 5.3


def test_a_sequence_is_in_the_order_of_its_caption(clips):
    for clip in clips:
        if clip.kind != "sequence":
            continue
        text, onsets, places = clip.captions[0].lower(), [], []
        for label in clip.labels:
            onsets.append(min(e["onset"] for e in clip.events if e["class"] == label))
            sound = SOUND_CLASSES[label]
            results = [text.find(word) for word in (sound.plural, sound.noun) if word in text]
            places.append(min(results))
        assert onsets == sorted(onsets)
        assert places == sorted(places), clip.captions[0]


@pytest.mark.parametrize("name", ["tone", "beep", "long_beep", "square_tone", "sawtooth_tone"])
@pytest.mark.parametrize("pitch", [220.0, 660.0, 1234.0])
def test_pitch_is_what_the_event_says(name, pitch):
    wave = SOUND_CLASSES[name].render(np.random.default_rng(0), Gesture(pitch, 0.0, 1.0))
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17))
    peak = np.argmax(spectrum) * 16000 / (1 << 17)
    assert abs(12 * np.log2(peak / pitch)) < 0.2


@pytest.mark.parametrize("name, rate", [("clock_ticking", 2.0), ("footsteps", 2.5)])
def test_rate_is_what_the_event_says(name, rate):
    wave = SOUND_CLASSES[name].render(np.random.default_rng(0), Gesture(0.0, rate, 8.0))
    loud = np.abs(wave).reshape(-1, 160).max(1)
    onsets = (loud[1:] > 0.3 * loud.max()) & (loud[:-1] <= 0.3 * loud.max())
    assert abs(onsets.sum() / 8.0 - rate) <= 0.3


def test_words_follow_the_numbers():
    beep, rain = SOUND_CLASSES["beep"], SOUND_CLASSES["rain"]
    assert SceneElement(beep, Gesture(600, 0, 0.2), 2, 0).phrase() == "two low-pitched short beeps"
    assert (
        SceneElement(beep, Gesture(2900, 0, 0.2), 1, 7).phrase() == "a loud high-pitched short beep"
    )
    assert SceneElement(rain, Gesture(0, 850, 5), 1, -9).phrase() == "quiet fast rain"
    noted = Gesture(600, 0, 0.2, "D5")
    assert SceneElement(beep, noted, 2, 0).phrase() == "two short beeps on D5"
    assert SceneElement(SOUND_CLASSES["owl"], Gesture(350, 0, 0.6), 1, 0).phrase() == "an owl hoot"


def test_named_notes_are_heard():
    """A caption that names a note stands for its pitch; about every other steady sound has one."""
    clips = [make_clip(0, i, seconds=2.0, only="tone") for i in range(40)]
    noted = [clip for clip in clips if clip.events[0]["note"]]
    assert 10 < len(noted) < 30
    for clip in noted[:8]:
        event = clip.events[0]
        assert f" on {event['note']}" in clip.captions[0]
        assert "pitched" not in clip.captions[0]
        spectrum = np.abs(np.fft.rfft(clip.audio, 1 << 17))
        peak = np.argmax(spectrum) * 16000 / (1 << 17)
        number = 69 + 12 * np.log2(peak / 440)
        assert abs(number - round(number)) < 0.1
        assert f"{NOTES[round(number) % 12]}{round(number) // 12 - 1}" == event["note"]
    others = [clip for clip in clips if not clip.events[0]["note"]]
    assert not any(" on " in clip.captions[0] for clip in others)


def test_music_is_in_its_key_and_tempo():
    """Nearly all energy of a flute's tune lies on notes of the scale."""
    tune = music.Tune("flute", 120.0, "moderate", 2, "minor", False)
    wave = music.render_tune(tune, 8.0, np.random.default_rng(1))
    spectrum = np.square(np.abs(np.fft.rfft(wave)))
    frequency = np.fft.rfftfreq(len(wave), 1 / 16000)
    audible = (frequency > 120) & (frequency < 1200)
    note = np.round(12 * np.log2(frequency[audible] / 261.63)).astype(int) - tune.tonic
    inside = np.isin(note % 12, music.SCALES["minor"])
    assert spectrum[audible][inside].sum() > 0.93 * spectrum[audible].sum()
    assert "D minor" in tune.captions()[0] and tune.mood == "dark"


def test_speech_says_what_its_transcript_says():
    clips = [make_clip(0, i, speech=1.0) for i in range(3)]
    for clip in clips:
        assert clip.kind == "speech" and clip.labels == ["speech"]
        assert clip.transcript.endswith(".") and clip.audio.shape == (163840,)
        assert "speak" in clip.captions[0] or "voice" in clip.captions[0]
        assert clip.audio.std() > 0.01
    assert len({clip.transcript for clip in clips}) == 3
    # In another order, the same samples: espeak-ng's own state must not leak.
    again = make_clip(0, 0, speech=1.0)
    np.testing.assert_array_equal(again.audio, clips[0].audio)


def test_a_sentence_is_made_of_phrases():
    rng = np.random.default_rng(0)
    for brief in (True, False) * 20:
        sentence = voices.draw_sentence(rng, brief=brief)
        results = voices.sentence_phrases(sentence)
        assert len(results) == (3 if brief else 4)
        assert " ".join(results).lower() + "." == sentence.lower()


def test_short_clips_hold_a_whole_sentence():
    for i in range(6):
        clip = make_clip(0, i, seconds=2.56, speech=1.0)
        (event,) = clip.events
        assert 4 <= len(clip.transcript.split()) <= 7
        end = event["onset"] + event["seconds"]
        assert end <= 2.56
        place = slice(int(event["onset"] * 16000), int(end * 16000))
        assert np.square(clip.audio[place]).sum() > 0.99 * np.square(clip.audio).sum()


def test_plain_voices_follow_from_text():
    """Captions tell all voices apart; they begin at once."""
    results = {}
    for i in range(120):
        rng = np.random.default_rng([0, i])
        voice = voices.draw_voice(rng, "plain")
        assert results.setdefault(tuple(voice.captions()), voice) == voice
    assert len(results) == 6
    for i, seconds in enumerate((2.56, 2.56, 6.0)):
        clip = make_clip(0, i, seconds=seconds, speech=1.0, voices="plain")
        onset = np.flatnonzero(np.abs(clip.audio) > 0.02)[0] / 16000
        assert 0.1 <= onset < 0.2


def test_a_share_of_speech():
    kinds = [make_clip(0, i, seconds=2.0, speech=0.3).kind for i in range(60)]
    assert 0.1 < kinds.count("speech") / 60 < 0.5
    some = {make_clip(0, i, seconds=1.0, kinds={"one": 0.5, "overlay": 0.5}).kind for i in range(9)}
    assert some == {"one", "overlay"}
    assert "speech" not in [make_clip(0, i, seconds=1.0).kind for i in range(20)]
