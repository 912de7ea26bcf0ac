"""Sound classes: the ranges of their parameters, their renderers, and the table of all classes.

A class draws pitch, rate and length from ranges and renders one gesture. Events are gestures that
can be counted; textures are continuous sounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Gesture:
    """The parameters of one rendered sound.

    pitch, rate: Hz, 0 where the class has none. seconds: length. note: the pitch's name if the
    caption states it, else "".
    """

    pitch: float
    rate: float
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class SoundClass:
    """A class of sounds.

    noun, plural: words of the caption, without article. render(rng, gesture): float32 audio
    [samples]. pitch, rate (Hz), seconds: ranges. texture: a continuous sound, not an event. notes:
    the pitch is steady, and is that of a named note in half of the draws.
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
        """Draws a gesture; pitch and rate are log-uniform. seconds: a fixed length."""

        def pick(span):
            return float(np.exp(rng.uniform(*np.log(span)))) if span else 0.0

        length = float(rng.uniform(*self.seconds)) if seconds is None else seconds
        gesture = Gesture(pick(self.pitch), pick(self.rate), length)
        return snap_to_note(gesture) if self.notes and rng.random() < 0.5 else gesture


NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def snap_to_note(gesture: Gesture) -> Gesture:
    """Moves the pitch to the nearest note of equal temperament (A4 = 440 Hz) and names it."""
    number = round(69 + 12 * np.log2(gesture.pitch / 440))
    note = f"{NOTES[number % 12]}{number // 12 - 1}"
    return replace(gesture, pitch=float(440 * 2 ** ((number - 69) / 12)), note=note)


SOUND_CLASSES: dict[str, SoundClass] = {}


def sound_class(
    noun, plural=None, *, pitch=None, rate=None, seconds=(0.3, 1.0), texture=False, notes=False
):
    """Decorator: registers a renderer under its function's name. Arguments: see `SoundClass`."""

    def register(render):
        name = render.__name__
        SOUND_CLASSES[name] = SoundClass(
            name, noun, plural or f"{noun}s", render, pitch, rate, seconds, texture, notes
        )
        return render

    return register


def describe_level(value: float, span: tuple[float, float] | None, words: tuple[str, str]) -> str:
    """Returns the first word for the lowest third of a log range, the second for the highest.

    Returns "" between them, without a value or a range, and for narrow ranges.
    """
    if not span or not value or span[1] / span[0] < 1.8:
        return ""
    fraction = np.log(value / span[0]) / np.log(span[1] / span[0])
    return words[0] if fraction < 1 / 3 else words[1] if fraction > 2 / 3 else ""
