"""Soundscapes: synthesised clips with captions, labels and what was done, from a seed and an index.

The same seed and index give the same clip, to the bit, in any order and on any machine with the
same numpy and scipy. This is a synthetic corpus: it sounds like its parts, not like recordings.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import oaconvolve

from audioldm2_jax.data.soundscapes import (  # noqa: F401  (the sounds register themselves)
    captions,
    dsp,
    impacts,
    machines,
    music,
    nature,
    signals,
)
from audioldm2_jax.data.soundscapes import voices as talk
from audioldm2_jax.data.soundscapes.captions import Element
from audioldm2_jax.data.soundscapes.sound_classes import SOUNDS, Gesture

# How often each kind of clip comes.
KINDS = {"one": 0.4, "sequence": 0.25, "overlay": 0.25, "music": 0.1}
# Speech in clips shorter than this many seconds is one brief sentence, drawn so many times to fit.
_BRIEF, _TRIES = 4.0, 30
_ONSET = 0.1  # seconds before plain voices speak
_SILENT = 1e-3


@dataclass(frozen=True)
class Clip:
    """audio: float32 [samples] in [-1, 1]; captions: several of the same clip; labels: class names;
    events: for each sound its class, onset and length in seconds, pitch, rate, count, loudness;
    transcript: what is said, in clips of speech.
    """

    audio: np.ndarray
    sample_rate: int
    kind: str
    captions: list[str]
    labels: list[str]
    events: list[dict] = field(default_factory=list)
    transcript: str | None = None


def make_clip(
    seed: int,
    index: int,
    *,
    seconds: float = 10.24,
    only: str | None = None,
    speech: float = 0.0,
    kinds: Mapping[str, float] = KINDS,
    voices: str = "varied",
) -> Clip:
    """One clip. only: a class name, for a clip that holds nothing else. speech: share of speech.
    kinds: shares of the other kinds, which add up to 1. voices: of speech, varied or plain, which
    differ in nothing but what captions say, and begin at once.

    Raises InputError for speech without the extra `tts`.
    """
    rng = np.random.default_rng([seed, index])
    if only is not None:
        return _scene(rng, seconds, "one", [only])
    if speech and rng.random() < speech:
        return _speech(rng, seconds, voices)
    kind = str(rng.choice(list(kinds), p=list(kinds.values())))
    if kind == "music":
        return _music(rng, seconds)
    return _scene(rng, seconds, kind, _choose(rng, kind, seconds))


def _choose(rng, kind, seconds) -> list[str]:
    """Class names: what goes on comes last in an overlay and never twice; two in short clips."""
    # Sorted: the order in which modules register must not decide what a seed gives.
    names = sorted(SOUNDS)
    textures = [name for name in names if SOUNDS[name].texture]
    events = [name for name in names if not SOUNDS[name].texture]
    if kind == "one":
        return [str(rng.choice(names))]
    if kind == "sequence":
        count = 2 if seconds < 4 else int(rng.integers(2, 4))
        return [str(n) for n in rng.choice(names, count, replace=False)]
    return [str(rng.choice(events)), str(rng.choice(textures))]


def _scene(rng, seconds, kind, names) -> Clip:
    if kind == "overlay":
        slots = [(0.0, seconds), (0.0, seconds)]
    else:
        edges = np.linspace(0, seconds, len(names) + 1)
        slots = list(itertools.pairwise(edges))
    out, elements, events = np.zeros(dsp.samples(seconds), np.float32), [], []
    for place, (name, (start, end)) in enumerate(zip(names, slots)):
        behind = kind == "overlay" and place == 1
        element = _element(rng, SOUNDS[name], end - start, behind)
        elements.append(element)
        events += _perform(rng, element, out, start, end)
    texts = _texts(rng, kind, [element.phrase() for element in elements])
    out, hall = _room(rng, out)
    if hall:
        texts[1] = texts[1].rstrip(".") + ", in a large hall"
    return Clip(_finished(rng, out), dsp.RATE, kind, texts, list(names), events)


def _texts(rng, kind, phrases) -> list[str]:
    """Two captions, in different words where chance allows."""
    found = []
    for _ in range(4):
        if kind == "overlay":
            text = captions.overlay(*phrases, rng)
        else:
            text = captions.sequence(phrases, rng)
        found.append(captions.spoken(text, rng))
    first = found[0]
    return [first, next((text for text in found if text != first), first)]


def _element(rng, sound, room, behind) -> Element:
    """How often and how loud a class sounds in `room` seconds."""
    loudness = float(rng.choice((-9.0, 0.0, 0.0, 7.0))) if not behind else -4.0
    if sound.texture:
        return Element(sound, sound.draw(rng, room), 1, loudness)
    gesture = sound.draw(rng)
    gesture = dataclasses.replace(gesture, seconds=min(gesture.seconds, 0.95 * room))
    fits = max(1, int(room / (gesture.seconds + 0.25)))
    count = int(min(rng.choice((1, 1, 2, 3, 4)), fits, 5))
    return Element(sound, gesture, count, 0.0 if behind else loudness)


def _perform(rng, element, out, start, end) -> list[dict]:
    """Mixes an element into its slot; returns what was placed where."""
    sound, gesture, placed = element.sound, element.gesture, []
    if sound.texture:
        times, gap = [start], 0.0
    else:
        # Gestures of one element follow each other evenly, the group somewhere in its slot.
        gap = float(rng.uniform(0.15, 0.5))
        length = element.count * gesture.seconds + (element.count - 1) * gap
        if length > end - start:
            gap, length = 0.02, element.count * (gesture.seconds + 0.02)
        first = start + float(rng.uniform(0, max(0.0, end - start - length)))
        times = [first + i * (gesture.seconds + gap) for i in range(element.count)]
    for at in times:
        wave = dsp.level(sound.render(rng, gesture), -20 + element.loudness)
        if sound.texture:
            wave = wave * dsp.envelope(len(wave), 0.3, 0.3)
        place = int(at * dsp.RATE)
        piece = wave[: max(0, len(out) - place)]
        out[place : place + len(piece)] += piece
        placed.append(_event(element, at, gesture))
    return placed


def _event(element: Element, at: float, gesture: Gesture) -> dict:
    return {
        "class": element.sound.name,
        "onset": round(float(at), 4),
        "seconds": round(float(gesture.seconds), 4),
        "pitch": round(gesture.pitch, 3),
        "note": gesture.note,
        "rate": round(gesture.rate, 3),
        "count": element.count,
        "loudness": element.loudness,
    }


def _music(rng, seconds) -> Clip:
    tune = music.draw(rng)
    wave = dsp.level(music.render(tune, seconds, rng), -18)
    event = {
        "class": "music",
        "onset": 0.0,
        "seconds": seconds,
        "instrument": tune.instrument,
        "tempo": round(tune.tempo, 2),
        "key": f"{music.KEYS[tune.tonic]} {tune.mode}",
        "mood": tune.mood,
    }
    labels = ["music", tune.instrument.replace(" ", "_")]
    return Clip(_finished(rng, wave), dsp.RATE, "music", tune.captions(), labels, [event])


def _speech(rng, seconds, voices) -> Clip:
    """One voice says as many sentences as fit; in short clips a brief one, in full."""
    if seconds < _BRIEF:
        return _brief_speech(rng, seconds, voices)
    voice, out, said = talk.draw_voice(rng, voices), np.zeros(dsp.samples(seconds), np.float32), []
    at = _ONSET if voices == "plain" else float(rng.uniform(0.1, 0.6))
    while True:
        sentence = talk.draw_sentence(rng)
        wave = talk.speak(sentence, voice)
        if said and at + len(wave) / dsp.RATE > seconds:
            break
        place = dsp.samples(at)
        piece = wave[: len(out) - place]
        out[place : place + len(piece)] += piece
        said.append(sentence)
        at += len(wave) / dsp.RATE + float(rng.uniform(0.1, 0.4))
        if at >= seconds:
            break
    event = {"class": "speech", "onset": 0.0, "seconds": seconds, **dataclasses.asdict(voice)}
    return _spoken(rng, voice, out, said, event)


def _brief_speech(rng, seconds, voices) -> Clip:
    """Voices and sentences are drawn until one fits; in clips too short for any, it is cut."""
    onset = _ONSET if voices == "plain" else float(rng.uniform(0.05, 0.25))
    for _ in range(_TRIES):
        voice, sentence = talk.draw_voice(rng, voices), talk.draw_sentence(rng, brief=True)
        wave = talk.speak(sentence, voice)
        wave = wave[: np.flatnonzero(np.abs(wave) > _SILENT)[-1] + 1]  # espeak-ng pauses after it
        if len(wave) / dsp.RATE + onset <= seconds:
            break
    out, place = np.zeros(dsp.samples(seconds), np.float32), dsp.samples(onset)
    piece = wave[: len(out) - place]
    out[place : place + len(piece)] = piece
    length = len(piece) / dsp.RATE
    event = {"class": "speech", "onset": onset, "seconds": length, **dataclasses.asdict(voice)}
    return _spoken(rng, voice, out, [sentence], event)


def _spoken(rng, voice, wave, said: list[str], event: dict) -> Clip:
    texts = [captions.spoken(text, rng) for text in voice.captions()]
    wave = _finished(rng, dsp.level(wave, -18))
    return Clip(wave, dsp.RATE, "speech", texts, ["speech"], [event], " ".join(said))


def _room(rng, audio):
    """Now and then a hall's reverberation: (audio, whether)."""
    if rng.random() > 0.15:
        return audio, False
    tail = dsp.noise(rng, 1.2, 100, 5000) * dsp.decay(dsp.samples(1.2), 1.2)
    wet = oaconvolve(audio, tail / np.sqrt(np.sum(tail**2)))[: len(audio)]
    return (audio + 0.8 * wet).astype(np.float32), True


def _finished(rng, audio) -> np.ndarray:
    """A floor of noise at -70 dB, and no sample beyond 0.95."""
    audio = audio + 10 ** (-70 / 20) * rng.standard_normal(len(audio), np.float32)
    return (audio * min(1.0, 0.95 / max(float(np.abs(audio).max()), 1e-9))).astype(np.float32)
