"""Tones, beeps, sirens, alarms, horns and other signals.

Each renderer takes a generator and a gesture, and returns float32 audio [samples] at dsp.RATE.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.data.soundscapes import dsp
from audioldm2_jax.data.soundscapes.sound_classes import sound_class


@sound_class("pure tone", pitch=(150, 2000), seconds=(0.6, 2.0), notes=True)
def tone(rng, g):
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch, g.seconds)), 0.02, 0.05)


@sound_class("buzzing square tone", pitch=(100, 900), seconds=(0.5, 1.5), notes=True)
def square_tone(rng, g):
    return dsp.shaped(dsp.square(dsp.phase(g.pitch, g.seconds)))


@sound_class("sawtooth tone", pitch=(80, 800), seconds=(0.5, 1.5), notes=True)
def sawtooth_tone(rng, g):
    return dsp.shaped(dsp.saw(dsp.phase(g.pitch, g.seconds)))


@sound_class("short beep", pitch=(500, 3000), seconds=(0.1, 0.25), notes=True)
def beep(rng, g):
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch, g.seconds)), 0.005, 0.01)


@sound_class("long beep", pitch=(400, 2500), seconds=(0.8, 1.5), notes=True)
def long_beep(rng, g):
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch, g.seconds)), 0.005, 0.01)


@sound_class("rising sweep", pitch=(200, 900), seconds=(0.5, 1.6))
def rising_sweep(rng, g):
    return dsp.shaped(dsp.sine(dsp.phase(dsp.glide(g.pitch, 4 * g.pitch, g.seconds))))


@sound_class("falling sweep", pitch=(800, 3600), seconds=(0.5, 1.6))
def falling_sweep(rng, g):
    return dsp.shaped(dsp.sine(dsp.phase(dsp.glide(g.pitch, g.pitch / 4, g.seconds))))


@sound_class("wobbling tone", pitch=(250, 1200), rate=(3, 10), seconds=(0.8, 2.0))
def vibrato_tone(rng, g):
    bend = 2 ** (0.15 * np.sin(2 * np.pi * g.rate * dsp.times(g.seconds)))
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch * bend)))


@sound_class("pulsing tone", pitch=(200, 1500), rate=(3, 12), seconds=(0.8, 2.0), notes=True)
def tremolo_tone(rng, g):
    swell = dsp.tremble(g.seconds, g.rate, 0.95)
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch, g.seconds)) * swell)


@sound_class("wailing siren", pitch=(500, 900), rate=(0.2, 0.6), texture=True)
def wailing_siren(rng, g):
    bend = 2 ** (0.7 * np.sin(2 * np.pi * g.rate * dsp.times(g.seconds)))
    return dsp.square(dsp.phase(g.pitch * bend), 2.0)


@sound_class("yelping siren", pitch=(600, 1100), rate=(2.5, 5), texture=True)
def yelping_siren(rng, g):
    cycle = (g.rate * dsp.times(g.seconds)) % 1
    return dsp.square(dsp.phase(g.pitch * 2 ** (cycle - 0.5)), 2.0)


@sound_class("two-tone siren", pitch=(400, 700), rate=(0.6, 1.4), texture=True)
def two_tone_siren(rng, g):
    high = (g.rate * dsp.times(g.seconds)) % 1 < 0.5
    return dsp.square(dsp.phase(np.where(high, 1.335 * g.pitch, g.pitch)), 3.0)


@sound_class(
    "alarm clock beeping", "alarm clocks beeping", pitch=(1500, 3000), rate=(3, 6), texture=True
)
def alarm_clock(rng, g):
    gate = (g.rate * dsp.times(g.seconds)) % 1 < 0.5
    return dsp.square(dsp.phase(g.pitch, g.seconds), 3.0) * gate


@sound_class("telephone ring", seconds=(1.2, 2.0), rate=(15, 25))
def telephone_ring(rng, g):
    bell = dsp.modes((1180, 1500, 2600), (0.15, 0.12, 0.08), (1, 0.8, 0.4), 0.15)
    return dsp.shaped(dsp.repeated(rng, g.seconds, g.rate, bell, 0.0), 0.01, 0.1)


@sound_class("dial tone", texture=True)
def dial_tone(rng, g):
    return dsp.sine(dsp.phase(350, g.seconds)) + dsp.sine(dsp.phase(440, g.seconds))


@sound_class("busy signal", texture=True, rate=(1.6, 2.4))
def busy_signal(rng, g):
    gate = (g.rate * dsp.times(g.seconds)) % 1 < 0.5
    return (dsp.sine(dsp.phase(480, g.seconds)) + dsp.sine(dsp.phase(620, g.seconds))) * gate


@sound_class("morse code message", pitch=(500, 1000), rate=(8, 16), seconds=(1.5, 3.0))
def morse_code(rng, g):
    unit, marks = dsp.samples(1 / g.rate), []
    while sum(marks) < dsp.samples(g.seconds) // unit:
        marks += [int(rng.choice((1, 3))), int(rng.choice((1, 1, 3)))]
    gate = np.concatenate([np.full(m * unit, (i + 1) % 2) for i, m in enumerate(marks)])
    count = dsp.samples(g.seconds)
    gate = np.pad(gate, (0, max(0, count - len(gate))))[:count].astype(np.float32)
    return dsp.sine(dsp.phase(g.pitch, g.seconds)) * gate


@sound_class("car horn", pitch=(330, 480), seconds=(0.4, 1.2))
def car_horn(rng, g):
    both = dsp.saw(dsp.phase(g.pitch, g.seconds)) + dsp.saw(dsp.phase(1.26 * g.pitch, g.seconds))
    return dsp.shaped(both, 0.02, 0.04)


@sound_class("train horn", pitch=(220, 330), seconds=(1.0, 2.2))
def train_horn(rng, g):
    chord = [dsp.saw(dsp.phase(g.pitch * r, g.seconds), 8) for r in (1, 1.2, 1.5, 1.78)]
    return dsp.shaped(sum(chord), 0.08, 0.2)


@sound_class("ship horn", pitch=(70, 130), seconds=(1.5, 3.0))
def ship_horn(rng, g):
    return dsp.shaped(dsp.saw(dsp.phase(g.pitch, g.seconds), 20), 0.2, 0.4)


@sound_class("whistle blow", pitch=(1800, 3200), seconds=(0.4, 1.0))
def referee_whistle(rng, g):
    bend = 1 + 0.03 * np.sin(2 * np.pi * 38 * dsp.times(g.seconds))
    breath = 0.15 * dsp.noise(rng, g.seconds, g.pitch * 0.8, g.pitch * 1.3)
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch * bend)) + breath, 0.02, 0.05)


@sound_class("laser zap", pitch=(1500, 3500), seconds=(0.2, 0.5))
def laser_zap(rng, g):
    return dsp.shaped(dsp.square(dsp.phase(dsp.glide(g.pitch, g.pitch / 12, g.seconds)), 2.0))


@sound_class("video game coin sound", pitch=(800, 1300), seconds=(0.3, 0.5))
def game_coin(rng, g):
    first = dsp.square(dsp.phase(g.pitch, 0.08))
    second = dsp.square(dsp.phase(1.335 * g.pitch, g.seconds - 0.08))
    return dsp.shaped(np.concatenate([first, second * dsp.decay(len(second), g.seconds)]))


@sound_class("static noise burst", "bursts of static noise", seconds=(0.2, 0.7))
def noise_burst(rng, g):
    return dsp.shaped(dsp.noise(rng, g.seconds), 0.005, 0.02)


@sound_class("steady white noise", "steady white noise", texture=True)
def white_noise(rng, g):
    return dsp.noise(rng, g.seconds)


@sound_class("deep rumbling noise", "deep rumbling noise", texture=True)
def brown_noise(rng, g):
    return dsp.noise(rng, g.seconds, 25, 300, -6)


@sound_class("mains hum", "mains hum", pitch=(48, 62), texture=True)
def mains_hum(rng, g):
    return sum(dsp.sine(dsp.phase(k * g.pitch, g.seconds)) / k for k in (1, 2, 3, 5))
