"""Speech by espeak-ng: voices with captions, sentences, and the synthesis.

The extra `tts` is required: its wheel `espeakng-loader` holds the library.
"""

from __future__ import annotations

import _ctypes
import atexit
import ctypes
import functools
import shutil
import tempfile
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.data.soundscapes import dsp
from audioldm2_jax.data.soundscapes.sound_classes import describe_level
from audioldm2_jax.errors import InputError

# espeak-ng's numbers (speak_lib.h).
_SYNCHRONOUS, _BY_CHARACTER, _UTF8 = 2, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_VOICES = {
    "woman": ("f1", "f2", "f3", "f4", "f5"),
    "man": ("m1", "m2", "m3", "m4", "m5", "m6", "m7"),
}
_SPEEDS, _PITCHES = (120, 230), (20, 90)
# Kinds of voices. Captions of plain voices determine the voice.
VOICES = ("varied", "plain")
_PLAIN = {"woman": "f2", "man": "m3"}
_PLAIN_SPEEDS = (140, 170, 215)

_SUBJECTS = (
    "the old captain", "my neighbour", "a young doctor", "the quiet student", "our teacher",
    "the baker", "a tired farmer", "the small child", "her brother", "the new pilot",
)  # fmt: skip
_VERBS = (
    "opened", "painted", "followed", "remembered", "carried", "found", "sold", "watched", "cleaned",
    "borrowed",
)  # fmt: skip
_OBJECTS = (
    "a heavy box", "the green door", "seven letters", "an empty bottle", "the broken clock",
    "two bicycles", "a silver key", "the last train", "some fresh bread", "a wooden boat",
)  # fmt: skip
_ENDINGS = (
    "in the morning", "before the storm", "near the river", "without a word", "on Monday",
    "after lunch", "behind the house", "for the first time", "at the station", "last winter",
)  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """A voice.

    name: espeak-ng's variant. speed: words per minute. pitch, lilt (pitch range): 0 to 100.
    """

    gender: str
    name: str
    speed: int
    pitch: int
    lilt: int

    def captions(self) -> list[str]:
        """Two captions of the voice: gender, speed and pitch."""
        speed = describe_level(self.speed, _SPEEDS, ("slowly", "quickly"))
        high = describe_level(self.pitch, _PITCHES, ("low", "high"))
        tone = f" in a {high} voice" if high else ""
        return [
            f"a {self.gender} speaks" + (f" {speed}" if speed else "") + tone,
            f"a {high + ' ' if high else ''}{'female' if self.gender == 'woman' else 'male'} voice "
            "is speaking" + (f" {speed}" if speed else ""),
        ]


def check_voices(kind: str) -> None:
    """Raises InputError unless `kind` is one of VOICES."""
    if kind not in VOICES:
        raise InputError(f"voices {kind!r}: choose one of {' '.join(VOICES)}")


def draw_voice(rng, kind: str = "varied") -> Voice:
    """Draws a voice. kind: one of VOICES. Raises InputError for others."""
    check_voices(kind)
    gender = str(rng.choice(list(_VOICES)))
    if kind == "plain":
        return Voice(gender, _PLAIN[gender], int(rng.choice(_PLAIN_SPEEDS)), 45, 50)
    name = str(rng.choice(_VOICES[gender]))
    speed, pitch, lilt = (int(rng.integers(*span)) for span in (_SPEEDS, _PITCHES, (30, 80)))
    return Voice(gender, name, speed, pitch, lilt)


def caption_words() -> set[str]:
    """All words that captions of voices use."""
    ends = [(speed, pitch) for speed in _SPEEDS for pitch in _PITCHES] + [_middle()]
    voices = [Voice(gender, "", *end, 50) for gender in _VOICES for end in ends]
    return {word for voice in voices for text in voice.captions() for word in text.split()}


def _middle() -> tuple[int, int]:
    """A speed and a pitch that captions do not mention."""
    return tuple(int((low * high) ** 0.5) for low, high in (_SPEEDS, _PITCHES))


def draw_sentence(rng, *, brief: bool = False) -> str:
    """Draws one of 10,000 sentences of one pattern; brief ones, of 1,000, have no ending."""
    words = (_SUBJECTS, _VERBS, _OBJECTS) if brief else (_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS)
    parts = [str(rng.choice(choices)) for choices in words]
    text = " ".join(parts)
    return text[0].upper() + text[1:] + "."


def sentence_phrases(sentence: str) -> list[str]:
    """Splits a sentence of `draw_sentence` into subject, verb, object and, if long, ending."""
    rest, phrases = sentence.rstrip(".").lower(), []
    for choices in (_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS):
        fitting = (p for p in choices if rest == p.lower() or rest.startswith(p.lower() + " "))
        if phrase := next(fitting, None):
            phrases.append(phrase)
            rest = rest[len(phrase) :].lstrip()
    return phrases


def speak(text: str, voice: Voice) -> np.ndarray:
    """Synthesises speech: float32 [samples] at dsp.RATE.

    Raises InputError if the extra is missing or the library fails.
    """
    path, data = _library()
    pieces: list[np.ndarray] = []

    @_CALLBACK
    def collect(samples, count, _):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    # Loaded again for each sentence: the library keeps state between sentences, even after
    # `espeak_Terminate`, which would make clips depend on their order.
    library = ctypes.CDLL(path)
    library.espeak_Synth.argtypes = _SYNTH
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
    if rate <= 0:
        raise InputError("espeak-ng's library does not start; install espeakng-loader again")
    try:
        library.espeak_SetSynthCallback(collect)
        library.espeak_SetVoiceByName(f"en-us+{voice.name}".encode())
        for parameter, value in ((_RATE, voice.speed), (_PITCH, voice.pitch), (_RANGE, voice.lilt)):
            library.espeak_SetParameter(parameter, value, 0)
        content = text.encode()
        library.espeak_Synth(content, len(content) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
    if not pieces:
        raise InputError(f"espeak-ng says nothing for {text!r}")
    return resample(np.concatenate(pieces).astype(np.float32) / 32768, rate, dsp.RATE)


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_SYNTH = (
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_void_p,
)


@functools.cache
def _library() -> tuple[str, bytes]:
    """A private copy of the library (phonemizer uses another one), and its data folder."""
    try:
        import espeakng_loader
    except ImportError:
        raise InputError(
            "speech needs the package espeakng_loader: pip install 'audioldm2-jax[tts]'"
        ) from None
    folder = tempfile.mkdtemp(prefix="audioldm2-jax-espeak-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = shutil.copy(espeakng_loader.get_library_path(), folder)
    return str(copy), str(espeakng_loader.get_data_path()).encode()
