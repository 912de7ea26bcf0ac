"""Weather, water, fire, insects, birds and other animals.

Each renderer takes a generator and a gesture, and returns float32 audio [samples] at dsp.RATE.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.data.soundscapes import dsp
from audioldm2_jax.data.soundscapes.sound_classes import sound_class


@sound_class("rain", "rain", rate=(60, 900), texture=True)
def rain(rng, g):
    drop = dsp.noise(rng, 0.004, 1500, 7000) * dsp.decay(dsp.samples(0.004), 0.004)
    bed = 0.25 * dsp.noise(rng, g.seconds, 1000, 7500, 3)
    return dsp.grains(rng, g.seconds, g.rate, drop) + bed * (g.rate / 900)


@sound_class("dripping water", "dripping water", pitch=(700, 2200), rate=(1, 4), texture=True)
def dripping_water(rng, g):
    fall = dsp.glide(g.pitch, 1.8 * g.pitch, 0.09)
    drop = dsp.sine(dsp.phase(fall)) * dsp.decay(len(fall), 0.07)
    return dsp.repeated(rng, g.seconds, g.rate, drop, 0.12)


@sound_class("wind", "wind", pitch=(250, 900), rate=(0.2, 0.7), texture=True)
def wind(rng, g):
    gusts = dsp.wander(rng, g.seconds, g.rate, 0.15, 1.0)
    low = dsp.noise(rng, g.seconds, 60, g.pitch, -3)
    whistle = dsp.resonate(dsp.noise(rng, g.seconds), 1.6 * g.pitch, 60)
    return gusts * (low + 3 * gusts * whistle)


@sound_class("thunder rumble", seconds=(2.0, 4.0))
def thunder(rng, g):
    crack = dsp.noise(rng, g.seconds, 20, 220, -5) * dsp.decay(dsp.samples(g.seconds), g.seconds)
    rolls = dsp.wander(rng, g.seconds, 4, 0.2, 1.0)
    return dsp.shaped(crack * rolls, 0.03, 0.5)


@sound_class("ocean waves", "ocean waves", rate=(0.12, 0.35), texture=True)
def ocean_waves(rng, g):
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * (g.rate * dsp.times(g.seconds) + rng.random()))
    foam = dsp.noise(rng, g.seconds, 400, 6000, -2)
    return foam * swell**2 + 0.4 * dsp.noise(rng, g.seconds, 40, 300)


@sound_class("babbling stream", rate=(25, 90), texture=True)
def stream(rng, g):
    out = 0.15 * dsp.noise(rng, g.seconds, 500, 4000, -2)
    for pitch in rng.uniform(400, 1600, 5):
        bubble = dsp.sine(dsp.phase(dsp.glide(pitch, 1.5 * pitch, 0.05)))
        out += dsp.grains(rng, g.seconds, g.rate / 5, bubble * dsp.decay(len(bubble), 0.05))
    return out


@sound_class("bubbles", "bubbles", rate=(4, 14), pitch=(250, 700), texture=True)
def bubbles(rng, g):
    rise = dsp.glide(g.pitch, 2.5 * g.pitch, 0.08)
    return dsp.repeated(rng, g.seconds, g.rate, dsp.shaped(dsp.sine(dsp.phase(rise))), 0.3)


@sound_class("crackling fire", "crackling fire", rate=(8, 40), texture=True)
def fire(rng, g):
    pop = dsp.noise(rng, 0.006, 1200, 7500) * dsp.decay(dsp.samples(0.006), 0.008)
    return (
        3 * dsp.grains(rng, g.seconds, g.rate, pop) + dsp.noise(rng, g.seconds, 40, 400, -3) * 0.2
    )


@sound_class(
    "crickets chirping", "crickets chirping", pitch=(3200, 5200), rate=(2, 4), texture=True
)
def crickets(rng, g):
    pulses = (32 * dsp.times(0.14)) % 1 < 0.6
    chirp = dsp.shaped(dsp.sine(dsp.phase(g.pitch, 0.14)) * pulses)
    return dsp.repeated(rng, g.seconds, g.rate, chirp)


@sound_class("cicadas", "cicadas", pitch=(3500, 6000), rate=(70, 140), texture=True)
def cicadas(rng, g):
    buzz = 0.5 + 0.5 * dsp.square(dsp.phase(g.rate, g.seconds))
    tone = dsp.noise(rng, g.seconds, 0.85 * g.pitch, 1.15 * g.pitch)
    return tone * buzz * dsp.wander(rng, g.seconds, 0.5, 0.5, 1.0)


@sound_class("buzzing bee", pitch=(160, 260), texture=True)
def bee(rng, g):
    bend = dsp.wander(rng, g.seconds, 3, 0.92, 1.08)
    return dsp.saw(dsp.phase(g.pitch * bend)) * dsp.wander(rng, g.seconds, 1, 0.3, 1.0)


@sound_class("whining mosquito", "whining mosquitoes", pitch=(450, 750), texture=True)
def mosquito(rng, g):
    bend = dsp.wander(rng, g.seconds, 2, 0.95, 1.05)
    return dsp.saw(dsp.phase(g.pitch * bend), 6) * dsp.wander(rng, g.seconds, 1, 0.2, 1.0)


@sound_class("bird chirp", pitch=(2200, 4500), seconds=(0.1, 0.25))
def bird_chirp(rng, g):
    half = g.seconds / 2
    rise = np.concatenate(
        [dsp.glide(g.pitch, 1.4 * g.pitch, half), dsp.glide(1.4 * g.pitch, 0.9 * g.pitch, half)]
    )
    return dsp.shaped(dsp.sine(dsp.phase(rise)), 0.02, 0.04)


@sound_class("bird trill", pitch=(2500, 4500), rate=(12, 24), seconds=(0.5, 1.2))
def bird_trill(rng, g):
    bend = 2 ** (0.25 * np.sin(2 * np.pi * g.rate * dsp.times(g.seconds)))
    swell = dsp.tremble(g.seconds, g.rate, 0.8)
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch * bend)) * swell, 0.05, 0.08)


@sound_class("cuckoo call", pitch=(560, 700), seconds=(0.7, 1.0))
def cuckoo(rng, g):
    first, second = 0.35 * g.seconds, 0.45 * g.seconds
    notes = [
        dsp.shaped(dsp.sine(dsp.phase(g.pitch, first)), 0.03, 0.05),
        np.zeros(dsp.samples(0.2 * g.seconds), np.float32),
        dsp.shaped(dsp.sine(dsp.phase(g.pitch / 1.25, second)), 0.03, 0.1),
    ]
    return np.concatenate(notes)


@sound_class("owl hoot", pitch=(280, 420), seconds=(0.5, 0.9))
def owl(rng, g):
    bend = 1 + 0.02 * np.sin(2 * np.pi * 6 * dsp.times(g.seconds))
    breath = 0.05 * dsp.noise(rng, g.seconds, g.pitch, 3 * g.pitch)
    return dsp.shaped(dsp.sine(dsp.phase(g.pitch * bend)) + breath, 0.1, 0.2)


def _voice(rng, g, curve, peaks, roughness=0.1):
    """A glottal saw along a pitch curve through formants."""
    source = dsp.saw(dsp.phase(curve), 20) + roughness * dsp.noise(rng, len(curve) / dsp.RATE)
    return dsp.formants(source, peaks)


@sound_class("crow caw", pitch=(350, 550), seconds=(0.3, 0.55))
def crow(rng, g):
    curve = dsp.glide(g.pitch, 0.8 * g.pitch, g.seconds)
    return dsp.shaped(_voice(rng, g, curve, ((1200, 250, 1), (2000, 300, 0.7)), 0.6), 0.03, 0.1)


@sound_class("dog bark", pitch=(180, 480), seconds=(0.18, 0.35))
def dog_bark(rng, g):
    curve = np.concatenate(
        [
            dsp.glide(g.pitch, 1.6 * g.pitch, g.seconds / 3),
            dsp.glide(1.6 * g.pitch, 0.8 * g.pitch, 2 * g.seconds / 3),
        ]
    )
    voice = _voice(rng, g, curve, ((700, 200, 1), (1500, 300, 0.6), (2800, 500, 0.2)), 0.5)
    return dsp.shaped(voice, 0.01, 0.1)


@sound_class("cat meow", pitch=(450, 750), seconds=(0.6, 1.1))
def cat_meow(rng, g):
    half = g.seconds / 2
    curve = np.concatenate(
        [
            dsp.glide(0.8 * g.pitch, 1.2 * g.pitch, half),
            dsp.glide(1.2 * g.pitch, 0.7 * g.pitch, half),
        ]
    )
    return dsp.shaped(_voice(rng, g, curve, ((900, 150, 1), (2400, 250, 0.5)), 0.05), 0.1, 0.2)


@sound_class("cow moo", pitch=(90, 150), seconds=(1.2, 2.0))
def cow_moo(rng, g):
    curve = dsp.glide(g.pitch, 1.25 * g.pitch, g.seconds)
    return dsp.shaped(_voice(rng, g, curve, ((300, 80, 1), (700, 120, 0.5)), 0.1), 0.2, 0.4)


@sound_class("sheep bleat", pitch=(280, 450), seconds=(0.7, 1.2))
def sheep_bleat(rng, g):
    bend = 1 + 0.06 * np.sin(2 * np.pi * 8 * dsp.times(g.seconds))
    voice = _voice(rng, g, g.pitch * bend, ((800, 150, 1), (1800, 250, 0.6)), 0.2)
    return dsp.shaped(voice * dsp.tremble(g.seconds, 8, 0.5), 0.05, 0.2)


@sound_class("frog croak", pitch=(120, 220), rate=(25, 45), seconds=(0.3, 0.6))
def frog_croak(rng, g):
    hit = dsp.formants(dsp.decay(dsp.samples(0.03), 0.02), ((4 * g.pitch, 200, 1),))
    return dsp.shaped(dsp.repeated(rng, g.seconds, g.rate, hit, 0.05), 0.05, 0.05)
