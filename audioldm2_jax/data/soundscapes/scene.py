"""Makes synthetic clips with captions, labels and events from a seed and an index.

Equal seeds and indices give equal clips, bit for bit, in any order and process. The versions of
numpy and scipy must be equal. Speech is an exception: espeak-ng's voices f2, f3 and f5 differ
between processes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import oaconvolve

from audioldm2_jax.data.soundscapes import (  # noqa: F401  (importing registers the sound classes)
    captions,
    dsp,
    impacts,
    machines,
    music,
    nature,
    signals,
    voices,
)
from audioldm2_jax.data.soundscapes.captions import SceneElement
from audioldm2_jax.data.soundscapes.sound_classes import SOUND_CLASSES, Gesture

# The share of each kind of clip.
KINDS = {"one": 0.4, "sequence": 0.25, "overlay": 0.25, "music": 0.1}
# Clips shorter than this many seconds hold one brief sentence of speech.
_BRIEF_SECONDS = 4.0
_MAX_DRAWS = 30  # of a voice and a sentence, until they fit
_PLAIN_ONSET = 0.1  # seconds before plain voices speak
_SILENCE = 1e-3


@dataclass(frozen=True)
class Clip:
    """A synthetic clip.

    audio: float32 [samples] in [-1, 1]. kind: of KINDS, or speech. captions: two of the same clip.
    labels: class names. events: for each sound its class, onset and length (seconds), pitch and
    rate (Hz), count and loudness (dB). transcript: of clips of speech.
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
    """Makes one clip at 16 kHz.

    only: a class name, for a clip with that sound only. speech: share of speech clips. kinds:
    shares of the other kinds, which add up to 1. voices: of speech. Plain voices start at once and
    differ only in what captions state; varied ones differ in more. Raises InputError for speech
    without the extra `tts`.
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
    """Draws class names: for an overlay an event and a texture; two in short sequences."""
    # Sorted: clips must not depend on the order in which modules register.
    names = sorted(SOUND_CLASSES)
    textures = [name for name in names if SOUND_CLASSES[name].texture]
    events = [name for name in names if not SOUND_CLASSES[name].texture]
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
    audio, elements, events = np.zeros(dsp.samples(seconds), np.float32), [], []
    for position, (name, (start, end)) in enumerate(zip(names, slots)):
        background = kind == "overlay" and position == 1
        element = _draw_element(rng, SOUND_CLASSES[name], end - start, background)
        elements.append(element)
        events += _mix_element(rng, element, audio, start, end)
    texts = _captions(rng, kind, [element.phrase() for element in elements])
    audio, in_hall = _add_reverb(rng, audio)
    if in_hall:
        texts[1] = texts[1].rstrip(".") + ", in a large hall"
    return Clip(_finalise(rng, audio), dsp.RATE, kind, texts, list(names), events)


def _captions(rng, kind, phrases) -> list[str]:
    """Two captions, with different words where the draws differ."""
    texts = []
    for _ in range(4):
        if kind == "overlay":
            text = captions.overlay(*phrases, rng)
        else:
            text = captions.sequence(phrases, rng)
        texts.append(captions.vary_style(text, rng))
    first = texts[0]
    return [first, next((text for text in texts if text != first), first)]


def _draw_element(rng, sound, room, background) -> SceneElement:
    """Draws the number and the loudness of a class's gestures in `room` seconds."""
    loudness = float(rng.choice((-9.0, 0.0, 0.0, 7.0))) if not background else -4.0
    if sound.texture:
        return SceneElement(sound, sound.draw(rng, room), 1, loudness)
    gesture = sound.draw(rng)
    gesture = dataclasses.replace(gesture, seconds=min(gesture.seconds, 0.95 * room))
    fits = max(1, int(room / (gesture.seconds + 0.25)))
    count = int(min(rng.choice((1, 1, 2, 3, 4)), fits, 5))
    return SceneElement(sound, gesture, count, 0.0 if background else loudness)


def _mix_element(rng, element, audio, start, end) -> list[dict]:
    """Adds an element to its slot of `audio`, in place; returns its events."""
    sound, gesture, events = element.sound, element.gesture, []
    if sound.texture:
        times, gap = [start], 0.0
    else:
        # An element's gestures have equal gaps; the group starts at random in its slot.
        gap = float(rng.uniform(0.15, 0.5))
        length = element.count * gesture.seconds + (element.count - 1) * gap
        if length > end - start:
            gap, length = 0.02, element.count * (gesture.seconds + 0.02)
        first = start + float(rng.uniform(0, max(0.0, end - start - length)))
        times = [first + i * (gesture.seconds + gap) for i in range(element.count)]
    for onset in times:
        wave = dsp.level(sound.render(rng, gesture), -20 + element.loudness)
        if sound.texture:
            wave = wave * dsp.envelope(len(wave), 0.3, 0.3)
        first = int(onset * dsp.RATE)
        piece = wave[: max(0, len(audio) - first)]
        audio[first : first + len(piece)] += piece
        events.append(_event(element, onset, gesture))
    return events


def _event(element: SceneElement, onset: float, gesture: Gesture) -> dict:
    return {
        "class": element.sound.name,
        "onset": round(float(onset), 4),
        "seconds": round(float(gesture.seconds), 4),
        "pitch": round(gesture.pitch, 3),
        "note": gesture.note,
        "rate": round(gesture.rate, 3),
        "count": element.count,
        "loudness": element.loudness,
    }


def _music(rng, seconds) -> Clip:
    tune = music.draw_tune(rng)
    wave = dsp.level(music.render_tune(tune, seconds, rng), -18)
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
    return Clip(_finalise(rng, wave), dsp.RATE, "music", tune.captions(), labels, [event])


def _speech(rng, seconds, kind) -> Clip:
    """One voice says as many sentences as fit, or in short clips one brief sentence."""
    if seconds < _BRIEF_SECONDS:
        return _brief_speech(rng, seconds, kind)
    voice, sentences = voices.draw_voice(rng, kind), []
    audio = np.zeros(dsp.samples(seconds), np.float32)
    onset = _PLAIN_ONSET if kind == "plain" else float(rng.uniform(0.1, 0.6))
    while True:
        sentence = voices.draw_sentence(rng)
        wave = voices.speak(sentence, voice)
        if sentences and onset + len(wave) / dsp.RATE > seconds:
            break
        first = dsp.samples(onset)
        piece = wave[: len(audio) - first]
        audio[first : first + len(piece)] += piece
        sentences.append(sentence)
        onset += len(wave) / dsp.RATE + float(rng.uniform(0.1, 0.4))
        if onset >= seconds:
            break
    event = {"class": "speech", "onset": 0.0, "seconds": seconds, **dataclasses.asdict(voice)}
    return _speech_clip(rng, voice, audio, sentences, event)


def _brief_speech(rng, seconds, kind) -> Clip:
    """Draws voices and sentences until one fits; the last one is cut if none does."""
    onset = _PLAIN_ONSET if kind == "plain" else float(rng.uniform(0.05, 0.25))
    for _ in range(_MAX_DRAWS):
        voice, sentence = voices.draw_voice(rng, kind), voices.draw_sentence(rng, brief=True)
        wave = voices.speak(sentence, voice)
        wave = wave[: np.flatnonzero(np.abs(wave) > _SILENCE)[-1] + 1]  # espeak-ng adds a pause
        if len(wave) / dsp.RATE + onset <= seconds:
            break
    audio, first = np.zeros(dsp.samples(seconds), np.float32), dsp.samples(onset)
    piece = wave[: len(audio) - first]
    audio[first : first + len(piece)] = piece
    length = len(piece) / dsp.RATE
    event = {"class": "speech", "onset": onset, "seconds": length, **dataclasses.asdict(voice)}
    return _speech_clip(rng, voice, audio, [sentence], event)


def _speech_clip(rng, voice, audio, sentences: list[str], event: dict) -> Clip:
    texts = [captions.vary_style(text, rng) for text in voice.captions()]
    audio = _finalise(rng, dsp.level(audio, -18))
    return Clip(audio, dsp.RATE, "speech", texts, ["speech"], [event], " ".join(sentences))


def _add_reverb(rng, audio):
    """Adds a hall's reverberation to 15 % of the clips: (audio, whether it did)."""
    if rng.random() > 0.15:
        return audio, False
    tail = dsp.noise(rng, 1.2, 100, 5000) * dsp.decay(dsp.samples(1.2), 1.2)
    wet = oaconvolve(audio, tail / np.sqrt(np.sum(tail**2)))[: len(audio)]
    return (audio + 0.8 * wet).astype(np.float32), True


def _finalise(rng, audio) -> np.ndarray:
    """Adds a noise floor at -70 dB and limits the peak to 0.95."""
    audio = audio + 10 ** (-70 / 20) * rng.standard_normal(len(audio), np.float32)
    return (audio * min(1.0, 0.95 / max(float(np.abs(audio).max()), 1e-9))).astype(np.float32)
