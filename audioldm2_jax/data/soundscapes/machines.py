"""Engines, tools, clocks and other machines.

Each renderer takes a generator and a gesture, and returns float32 audio [samples] at dsp.RATE.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.data.soundscapes import dsp
from audioldm2_jax.data.soundscapes.sound_classes import sound_class


def _engine(rng, curve, peaks, roughness):
    """Firing pulses along a curve of rates (Hz), filtered by the body's resonances."""
    cycles = dsp.phase(curve)
    pulses = np.diff(np.floor(cycles), prepend=0.0).astype(np.float32)
    pulses *= 1 + 0.3 * rng.standard_normal(len(pulses)).astype(np.float32)
    body = dsp.formants(pulses, peaks)
    return body / max(float(body.std()), 1e-6) + roughness * dsp.noise(
        rng, len(curve) / dsp.RATE, 100, 3000, -3
    )


@sound_class("idling engine", rate=(22, 45), texture=True)
def engine_idle(rng, g):
    curve = g.rate * dsp.wander(rng, g.seconds, 2, 0.97, 1.03)
    return _engine(rng, curve, ((90, 40, 1), (220, 80, 0.6), (600, 200, 0.2)), 0.15)


@sound_class("revving engine", rate=(35, 60), seconds=(1.5, 3.0))
def engine_revving(rng, g):
    half = g.seconds / 2
    curve = np.concatenate(
        [dsp.glide(g.rate, 3.5 * g.rate, half), dsp.glide(3.5 * g.rate, g.rate, half)]
    )
    return dsp.shaped(_engine(rng, curve, ((120, 60, 1), (400, 150, 0.7)), 0.2), 0.1, 0.2)


@sound_class("passing motorcycle", rate=(70, 130), seconds=(2.0, 3.5))
def motorcycle(rng, g):
    distance = np.linspace(-1, 1, dsp.samples(g.seconds), dtype=np.float32)
    curve = g.rate * (1 - 0.12 * np.tanh(6 * distance))
    gain = 1 / (0.06 + distance**2)
    return _engine(rng, curve, ((200, 80, 1), (700, 250, 0.7)), 0.2) * gain / gain.max()


@sound_class("helicopter", rate=(9, 16), texture=True)
def helicopter(rng, g):
    blade = dsp.noise(rng, 0.05, 40, 500, -3) * dsp.decay(dsp.samples(0.05), 0.05)
    chop = dsp.repeated(rng, g.seconds, g.rate, blade, 0.005)
    return chop + 0.15 * dsp.noise(rng, g.seconds, 800, 3000)


@sound_class("propeller plane", rate=(70, 110), texture=True)
def propeller_plane(rng, g):
    return dsp.saw(dsp.phase(g.rate, g.seconds), 25) + 0.2 * dsp.noise(
        rng, g.seconds, 100, 2000, -3
    )


@sound_class("jet flying over", "jets flying over", pitch=(1200, 2400), texture=True)
def jet(rng, g):
    whine = 0.2 * dsp.sine(dsp.phase(g.pitch * dsp.wander(rng, g.seconds, 0.5, 0.97, 1.03)))
    return dsp.noise(rng, g.seconds, 60, 4000, -3) + whine


@sound_class("humming fan", pitch=(90, 180), texture=True)
def fan(rng, g):
    blades = dsp.tremble(g.seconds, g.pitch / 6, 0.3)
    return blades * dsp.noise(rng, g.seconds, 100, 2500, -4) + 0.4 * dsp.sine(
        dsp.phase(g.pitch, g.seconds)
    )


@sound_class("vacuum cleaner", pitch=(180, 320), texture=True)
def vacuum_cleaner(rng, g):
    motor = dsp.saw(dsp.phase(g.pitch, g.seconds), 18)
    return motor + dsp.noise(rng, g.seconds, 300, 6000)


@sound_class("electric drill", pitch=(180, 380), seconds=(1.0, 2.5))
def drill(rng, g):
    start = dsp.envelope(dsp.samples(g.seconds), 0.15, 0.2)
    motor = dsp.saw(dsp.phase(g.pitch * (0.6 + 0.4 * start)), 20)
    return dsp.shaped(motor * start + 0.4 * dsp.noise(rng, g.seconds, 1500, 7000))


@sound_class("chainsaw", rate=(60, 110), texture=True)
def chainsaw(rng, g):
    curve = g.rate * dsp.wander(rng, g.seconds, 1.5, 0.7, 1.3)
    return _engine(rng, curve, ((500, 200, 1), (1800, 500, 0.8), (3500, 900, 0.4)), 0.3)


@sound_class("sewing machine", rate=(8, 16), texture=True)
def sewing_machine(rng, g):
    click = dsp.modes((900, 2100, 3800), (0.03, 0.02, 0.02), (1, 0.6, 0.4), 0.05)
    return dsp.repeated(rng, g.seconds, g.rate, click, 0.01) + 0.05 * dsp.noise(
        rng, g.seconds, 200, 1500
    )


@sound_class("printer", rate=(2, 4), texture=True)
def printer(rng, g):
    move = dsp.tremble(g.seconds, g.rate, 0.8)
    pins = dsp.repeated(rng, g.seconds, 90, dsp.modes((2500,), (0.006,), (1,), 0.01), 0.02)
    return pins * move + 0.1 * dsp.noise(rng, g.seconds, 500, 3000) * move


@sound_class("ticking clock", rate=(1, 4), texture=True)
def clock_ticking(rng, g):
    tick = dsp.modes((2200, 3500, 5200), (0.02, 0.015, 0.01), (1, 0.7, 0.5), 0.03)
    return dsp.repeated(rng, g.seconds, g.rate, tick, 0.0)


@sound_class("typing on a keyboard", "typing on a keyboard", rate=(4, 11), texture=True)
def typing(rng, g):
    key = dsp.noise(rng, 0.02, 800, 6000) * dsp.decay(dsp.samples(0.02), 0.015)
    return dsp.repeated(rng, g.seconds, g.rate, key, 0.25)


@sound_class("train on tracks", "trains on tracks", rate=(1, 2.4), texture=True)
def train_tracks(rng, g):
    clack = dsp.noise(rng, 0.06, 80, 1500, -2) * dsp.decay(dsp.samples(0.06), 0.06)
    pair = np.concatenate([clack, np.zeros(dsp.samples(0.09), np.float32), clack])
    return dsp.repeated(rng, g.seconds, g.rate, pair, 0.01) + 0.2 * dsp.noise(
        rng, g.seconds, 40, 600, -3
    )


@sound_class("steam hiss", "bursts of steam", pitch=(2500, 5000), seconds=(0.8, 2.0))
def steam(rng, g):
    return dsp.shaped(dsp.noise(rng, g.seconds, g.pitch / 2, 8000), 0.05, 0.4)


@sound_class("camera shutter click", seconds=(0.12, 0.2))
def camera(rng, g):
    click = dsp.noise(rng, 0.012, 1000, 7000) * dsp.decay(dsp.samples(0.012), 0.015)
    gap = np.zeros(dsp.samples(g.seconds) - 2 * len(click), np.float32)
    return np.concatenate([click, gap, 0.7 * click])


@sound_class("geiger counter clicks", "geiger counter clicks", rate=(4, 40), texture=True)
def geiger(rng, g):
    return dsp.grains(rng, g.seconds, g.rate, dsp.modes((3000,), (0.004,), (1,), 0.008))
