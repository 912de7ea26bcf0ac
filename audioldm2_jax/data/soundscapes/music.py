"""Short music: an instrument plays a melody over chords, in a key and at a tempo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audioldm2_jax.data.soundscapes import dsp, impacts
from audioldm2_jax.data.soundscapes.captions import article
from audioldm2_jax.data.soundscapes.sound_classes import Gesture

KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Scale degrees of the chords of four bars.
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 3, 0, 4), (5, 3, 0, 4))
TEMPI = {"slow": (60, 80), "moderate": (92, 116), "fast": (136, 170)}


def _flute(rng, g):
    bend = 1 + 0.006 * np.sin(2 * np.pi * 5 * dsp.times(g.seconds))
    tone = dsp.sine(dsp.phase(g.pitch * bend)) + 0.2 * dsp.sine(dsp.phase(2 * g.pitch * bend))
    return dsp.shaped(tone + 0.03 * dsp.noise(rng, g.seconds, g.pitch, 4 * g.pitch), 0.05, 0.08)


def _organ(rng, g):
    cycles = dsp.phase(g.pitch, g.seconds)
    return dsp.shaped(sum(dsp.sine(k * cycles) / k for k in (1, 2, 3, 4, 6, 8)), 0.02, 0.05)


def _strings(rng, g):
    both = sum(dsp.saw(dsp.phase(g.pitch * d, g.seconds), 10) for d in (0.996, 1.004))
    return dsp.shaped(both, 0.12, 0.15)


def _synth(rng, g):
    return dsp.shaped(dsp.square(dsp.phase(g.pitch, g.seconds), 3.0), 0.01, 0.05)


INSTRUMENTS = {
    "guitar": impacts.plucked_string,
    "piano": impacts.piano_note,
    "xylophone": impacts.xylophone,
    "flute": _flute,
    "organ": _organ,
    "string ensemble": _strings,
    "synthesizer": _synth,
}


@dataclass(frozen=True)
class Tune:
    """The parameters of a tune. tempo: beats per minute. tonic: 0 is C. mode: a key of SCALES."""

    instrument: str
    tempo: float
    speed: str
    tonic: int
    mode: str
    drums: bool

    @property
    def mood(self) -> str:
        """The mood that the captions state, by speed and mode."""
        if self.speed == "slow":
            return "calm" if self.mode == "major" else "sad"
        if self.speed == "fast":
            return "happy" if self.mode == "major" else "tense"
        return "pleasant" if self.mode == "major" else "dark"

    def captions(self) -> list[str]:
        """Two captions of the tune."""
        drums = " with drums" if self.drums else ""
        key = f"in {KEYS[self.tonic]} {self.mode}"
        first = f"{self.mood} {self.speed} {self.instrument} melody{drums} {key}"
        return [
            f"{article(first)} {first}",
            f"{article(self.mood)} {self.mood} piece for {self.instrument}{drums}, {key}, at "
            f"{article(self.speed)} {self.speed} tempo",
        ]


def draw_tune(rng) -> Tune:
    """Draws a tune."""
    speed = str(rng.choice(list(TEMPI)))
    return Tune(
        str(rng.choice(list(INSTRUMENTS))),
        float(rng.uniform(*TEMPI[speed])),
        speed,
        int(rng.integers(12)),
        str(rng.choice(list(SCALES))),
        bool(rng.random() < 0.4),
    )


def render_tune(tune: Tune, seconds: float, rng) -> np.ndarray:
    """Renders a melody over its chords, with drums if the tune has them: float32 [samples]."""
    audio = np.zeros(dsp.samples(seconds), np.float32)
    beat, scale = 60 / tune.tempo, SCALES[tune.mode]
    chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    voice, degree = INSTRUMENTS[tune.instrument], 7

    def pitch(step, octave):
        note = scale[step % 7] + 12 * (step // 7 + octave)
        return 261.63 * 2 ** ((tune.tonic + note) / 12)

    def add_note(onset, hertz, length, gain):
        if onset >= seconds - 0.05:
            return
        note = voice(rng, Gesture(hertz, 0.0, min(length, seconds - onset)))
        start = dsp.samples(onset) - 1
        piece = note[: len(audio) - start]
        audio[start : start + len(piece)] += gain * piece / max(float(np.abs(note).max()), 1e-6)

    for bar in range(int(seconds / (4 * beat)) + 1):
        root = chords[bar % 4]
        for step in (root, root + 2, root + 4):
            add_note(4 * bar * beat, pitch(step, -1), 4 * beat, 0.22)
        time = 0.0
        while time < 4:
            length = float(rng.choice((0.5, 1.0, 1.0, 2.0)))
            # Strong beats take a note of the chord, others a neighbour of the last note.
            chord_note = root + int(rng.choice((0, 2, 4, 7)))
            degree = chord_note if time in (0.0, 2.0) else degree + int(rng.integers(-2, 3))
            degree = int(np.clip(degree, 0, 11))
            add_note((4 * bar + time) * beat, pitch(degree, 0), length * beat * 1.05, 0.6)
            time += length
    if tune.drums:
        _add_drums(audio, beat, seconds, rng)
    return audio


def _add_drums(audio, beat, seconds, rng):
    """Adds, in place, bass drum on beats one and three, snare on two and four."""
    hits = (
        impacts.bass_drum(rng, Gesture(55, 0, 0.3)),
        impacts.snare_drum(rng, Gesture(190, 0, 0.25)),
    )
    for i in range(int(seconds / beat)):
        hit, start = hits[i % 2], dsp.samples(i * beat) - 1
        piece = hit[: len(audio) - start]
        audio[start : start + len(piece)] += 0.5 * piece / np.abs(hit).max()
