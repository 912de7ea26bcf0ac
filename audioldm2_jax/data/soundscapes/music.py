"""Short music: an instrument plays a melody over chords in a key, at a tempo, in a mood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audioldm2_jax.data.soundscapes import dsp, impacts
from audioldm2_jax.data.soundscapes.captions import article
from audioldm2_jax.data.soundscapes.sound_classes import Gesture

KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Degrees of the scale on which the chords of four bars stand.
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
    """What was played. tempo in beats a minute; tonic: 0 is C."""

    instrument: str
    tempo: float
    speed: str
    tonic: int
    mode: str
    drums: bool

    @property
    def mood(self) -> str:
        if self.speed == "slow":
            return "calm" if self.mode == "major" else "sad"
        if self.speed == "fast":
            return "happy" if self.mode == "major" else "tense"
        return "pleasant" if self.mode == "major" else "dark"

    def captions(self) -> list[str]:
        drums = " with drums" if self.drums else ""
        key = f"in {KEYS[self.tonic]} {self.mode}"
        first = f"{self.mood} {self.speed} {self.instrument} melody{drums} {key}"
        return [
            f"{article(first)} {first}",
            f"{article(self.mood)} {self.mood} piece for {self.instrument}{drums}, {key}, at "
            f"{article(self.speed)} {self.speed} tempo",
        ]


def draw_tune(rng) -> Tune:
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
    """A melody on the chords' notes, the chords under it, drums if asked."""
    out = np.zeros(dsp.samples(seconds), np.float32)
    beat, scale = 60 / tune.tempo, SCALES[tune.mode]
    chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    voice, degree = INSTRUMENTS[tune.instrument], 7

    def pitch(step, octave):
        note = scale[step % 7] + 12 * (step // 7 + octave)
        return 261.63 * 2 ** ((tune.tonic + note) / 12)

    def put(at, hertz, length, loud):
        if at >= seconds - 0.05:
            return
        note = voice(rng, Gesture(hertz, 0.0, min(length, seconds - at)))
        start = dsp.samples(at) - 1
        piece = note[: len(out) - start]
        out[start : start + len(piece)] += loud * piece / max(float(np.abs(note).max()), 1e-6)

    for bar in range(int(seconds / (4 * beat)) + 1):
        root = chords[bar % 4]
        for step in (root, root + 2, root + 4):
            put(4 * bar * beat, pitch(step, -1), 4 * beat, 0.22)
        at = 0.0
        while at < 4:
            length = float(rng.choice((0.5, 1.0, 1.0, 2.0)))
            # Strong beats take a note of the chord, the others a neighbour.
            near = root + int(rng.choice((0, 2, 4, 7)))
            degree = near if at in (0.0, 2.0) else degree + int(rng.integers(-2, 3))
            degree = int(np.clip(degree, 0, 11))
            put((4 * bar + at) * beat, pitch(degree, 0), length * beat * 1.05, 0.6)
            at += length
    if tune.drums:
        _drums(out, beat, seconds, rng)
    return out


def _drums(out, beat, seconds, rng):
    """Bass drum on one and three, snare on two and four."""
    hits = (
        impacts.bass_drum(rng, Gesture(55, 0, 0.3)),
        impacts.snare_drum(rng, Gesture(190, 0, 0.25)),
    )
    for i in range(int(seconds / beat)):
        hit, start = hits[i % 2], dsp.samples(i * beat) - 1
        piece = hit[: len(out) - start]
        out[start : start + len(piece)] += 0.5 * piece / np.abs(hit).max()
