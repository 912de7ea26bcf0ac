"""Captions of soundscapes: number, pitch, rate, loudness and order in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audioldm2_jax.data.soundscapes.sound_classes import Gesture, SoundClass, describe_level

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class SceneElement:
    """One sound of a scene.

    gesture: the parameters that all repetitions share. count: of repetitions. loudness: dB relative
    to the scene's level.
    """

    sound: SoundClass
    gesture: Gesture
    count: int
    loudness: float

    def phrase(self) -> str:
        """A phrase such as "two low-pitched short beeps" or "a piano note on F#4"."""
        sound, gesture = self.sound, self.gesture
        pitch = 0.0 if gesture.note else gesture.pitch
        after = f"on {gesture.note}" if gesture.note else ""
        words = [
            "loud" if self.loudness > 5 else "quiet" if self.loudness < -5 else "",
            describe_level(gesture.rate, sound.rate, ("slow", "fast")),
            describe_level(pitch, sound.pitch, ("low-pitched", "high-pitched")),
        ]
        described = " ".join(word for word in words if word)
        if self.count > 1:
            return " ".join(w for w in (NUMBERS[self.count], described, sound.plural, after) if w)
        text = " ".join(w for w in (described, sound.noun, after) if w)
        # Mass nouns equal their plural and take no article.
        return text if sound.noun == sound.plural else f"{article(text)} {text}"


def article(text: str) -> str:
    """The indefinite article for a text."""
    return "an" if text[0] in "aeiou" else "a"


def sequence(phrases: list[str], rng: np.random.Generator) -> str:
    """A caption of one to three sounds in sequence."""
    if len(phrases) == 1:
        return phrases[0]
    if len(phrases) == 2:
        join = rng.choice(("{}, then {}", "{} followed by {}", "first {}, then {}"))
        return str(join).format(*phrases)
    join = rng.choice(("{}, then {}, and finally {}", "first {}, then {}, then {}"))
    return str(join).format(*phrases[:3])


def overlay(front: str, back: str, rng: np.random.Generator) -> str:
    """A caption of two simultaneous sounds; `back` is the quieter one."""
    join = rng.choice(("{} with {} in the background", "{} over {}", "{} while there is {}"))
    return str(join).format(front, back)


def vary_style(text: str, rng: np.random.Generator) -> str:
    """The same words as a sentence, as they are, or after "the sound of"."""
    style = rng.integers(3)
    if style == 0:
        return text[0].upper() + text[1:] + "."
    return text if style == 1 or text.startswith("first") else f"the sound of {text}"
