"""What a sound class is, and the table of all of them.

A class draws its pitch, rate and length from ranges, renders one gesture, and says what a caption
may say of it. `events` are gestures that can be counted, `textures` go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Gesture:
    """Drawn parameters of one sound: pitch and rate in Hz (0 where the class has none), seconds;
    note: the name of its pitch, if the caption is to tell it.
    """

    pitch: float
    rate: float
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class SoundClass:
    """A class.

    noun, plural: its caption's words, without an article; pitch, rate, seconds: ranges to draw
    from; texture: it goes on, against an event that can be counted; notes: its pitch is steady, and
    every other time that of a named note; render(rng, gesture) -> audio.
    """

    name: str
    noun: str
    plural: str
    render: Callable[[np.random.Generator, Gesture], np.ndarray]
    pitch: tuple[float, float] | None
    rate: tuple[float, float] | None
    seconds: tuple[float, float]
    texture: bool
    notes: bool = False

    def draw(self, rng, seconds: float | None = None) -> Gesture:
        """Parameters: pitch and rate even in their logarithm."""

        def pick(span):
            return float(np.exp(rng.uniform(*np.log(span)))) if span else 0.0

        length = float(rng.uniform(*self.seconds)) if seconds is None else seconds
        gesture = Gesture(pick(self.pitch), pick(self.rate), length)
        return named(gesture) if self.notes and rng.random() < 0.5 else gesture


NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def named(gesture: Gesture) -> Gesture:
    """At the nearest note of equal temperament (A4 is 440 Hz), which it then names."""
    number = round(69 + 12 * np.log2(gesture.pitch / 440))
    note = f"{NOTES[number % 12]}{number // 12 - 1}"
    return replace(gesture, pitch=float(440 * 2 ** ((number - 69) / 12)), note=note)


SOUND_CLASSES: dict[str, SoundClass] = {}


def sound_class(
    noun, plural=None, *, pitch=None, rate=None, seconds=(0.3, 1.0), texture=False, notes=False
):
    """Registers a renderer under its function's name."""

    def register(render):
        name = render.__name__
        SOUND_CLASSES[name] = SoundClass(
            name, noun, plural or f"{noun}s", render, pitch, rate, seconds, texture, notes
        )
        return render

    return register


def span_word(value: float, span: tuple[float, float] | None, words: tuple[str, str]) -> str:
    """The first word for the lowest third of a range (in its logarithm), the second for the top."""
    if not span or not value or span[1] / span[0] < 1.8:
        return ""
    place = np.log(value / span[0]) / np.log(span[1] / span[0])
    return words[0] if place < 1 / 3 else words[1] if place > 2 / 3 else ""
