"""Struck and moved objects (knocks, bells, drums, strings, glass), and the human body.

Each renderer takes a generator and a gesture, and returns float32 audio [samples] at dsp.RATE.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.data.soundscapes import dsp
from audioldm2_jax.data.soundscapes.sound_classes import sound_class


def _thud(rng, pitch, seconds, click):
    """A falling low tone with a click of noise, as of a dull impact."""
    body = dsp.sine(dsp.phase(dsp.glide(1.6 * pitch, pitch, seconds)))
    body = body * dsp.decay(len(body), 0.7 * seconds)
    hit = dsp.noise(rng, seconds, 500, 6000) * dsp.decay(dsp.samples(seconds), 0.04)
    return body + click * hit


@sound_class("footsteps", "footsteps", rate=(1.2, 3.2), texture=True)
def footsteps(rng, g):
    return dsp.repeated(rng, g.seconds, g.rate, _thud(rng, 90, 0.12, 0.4), 0.03)


@sound_class("knock on a door", "knocks on a door", pitch=(150, 320), seconds=(0.12, 0.2))
def knock(rng, g):
    return _thud(rng, g.pitch, g.seconds, 0.3)


@sound_class("hammer blow", pitch=(400, 900), seconds=(0.2, 0.4))
def hammer(rng, g):
    ring = dsp.modes(
        (g.pitch, 2.7 * g.pitch, 5.1 * g.pitch), (0.2, 0.1, 0.08), (1, 0.6, 0.4), g.seconds
    )
    return ring + 0.4 * _thud(rng, 120, g.seconds, 1.0)


@sound_class("door slam", seconds=(0.4, 0.7))
def door_slam(rng, g):
    return dsp.shaped(_thud(rng, 70, g.seconds, 0.8), 0.002, 0.2)


@sound_class("creaking door", rate=(20, 45), seconds=(0.8, 1.8))
def door_creak(rng, g):
    curve = g.rate * dsp.wander(rng, g.seconds, 2, 0.6, 1.5)
    pulses = np.diff(np.floor(dsp.phase(curve)), prepend=0.0).astype(np.float32)
    return dsp.shaped(dsp.formants(pulses, ((900, 80, 1), (2100, 120, 0.7))), 0.1, 0.2)


@sound_class("glass clink", pitch=(2000, 4000), seconds=(0.4, 0.8))
def glass_clink(rng, g):
    return dsp.modes(
        (g.pitch, 1.52 * g.pitch, 1.94 * g.pitch), (0.5, 0.3, 0.2), (1, 0.6, 0.4), g.seconds
    )


@sound_class("breaking glass", "panes of breaking glass", seconds=(0.8, 1.4))
def glass_break(rng, g):
    shard = dsp.modes(
        rng.uniform(2500, 7500, 6), rng.uniform(0.03, 0.2, 6), rng.uniform(0.3, 1, 6), 0.3
    )
    out = dsp.grains(rng, g.seconds, 40, shard) * dsp.decay(dsp.samples(g.seconds), g.seconds)
    out[: dsp.samples(0.05)] += (
        2 * dsp.noise(rng, 0.05, 1000, 8000) * dsp.decay(dsp.samples(0.05), 0.05)
    )
    return out


_BELL = ((0.5, 1.0, 1.2, 1.5, 2.0, 2.7, 3.8), (1.0, 0.9, 0.7, 0.6, 0.5, 0.35, 0.25))


@sound_class("church bell toll", pitch=(150, 400), seconds=(2.0, 3.5))
def church_bell(rng, g):
    ratios, sizes = _BELL
    decays = [3.0 * s for s in sizes]
    return dsp.modes([g.pitch * r for r in ratios], decays, sizes, g.seconds)


@sound_class("small bell ding", pitch=(1200, 2600), seconds=(0.8, 1.5))
def small_bell(rng, g):
    return dsp.modes(
        (g.pitch, 2.4 * g.pitch, 3.9 * g.pitch), (1.2, 0.6, 0.3), (1, 0.5, 0.3), g.seconds
    )


@sound_class("bicycle bell", pitch=(2000, 3200), seconds=(0.5, 0.9))
def bicycle_bell(rng, g):
    ding = dsp.modes((g.pitch, 1.35 * g.pitch), (0.4, 0.3), (1, 0.7), 0.4)
    return dsp.shaped(dsp.repeated(rng, g.seconds, 14, ding, 0.02), 0.005, 0.2)


@sound_class("gong", pitch=(80, 160), seconds=(2.5, 4.0))
def gong(rng, g):
    ratios = 1 + np.cumsum(rng.uniform(0.15, 0.6, 14))
    out = dsp.modes(g.pitch * ratios, rng.uniform(1.5, 4, 14), 1 / ratios, g.seconds)
    return out * dsp.envelope(len(out), 0.05, 0.3)


@sound_class("xylophone note", pitch=(500, 1800), seconds=(0.4, 0.8), notes=True)
def xylophone(rng, g):
    return dsp.modes(
        (g.pitch, 3 * g.pitch, 6.3 * g.pitch), (0.4, 0.15, 0.06), (1, 0.4, 0.2), g.seconds
    )


@sound_class("plucked string", pitch=(110, 700), seconds=(0.8, 1.8), notes=True)
def plucked_string(rng, g):
    ratios = np.arange(1, 14)
    decays = 1.8 / (1 + 0.35 * (ratios - 1))
    return dsp.modes(g.pitch * ratios, decays, 1 / ratios, g.seconds)


@sound_class("piano note", pitch=(110, 1000), seconds=(0.8, 1.8), notes=True)
def piano_note(rng, g):
    ratios = np.arange(1, 12) * np.sqrt(1 + 0.0004 * np.arange(1, 12) ** 2)
    out = dsp.modes(g.pitch * ratios, 2.5 / (1 + 0.25 * ratios), 1 / ratios**1.3, g.seconds)
    return dsp.shaped(out, 0.004, 0.1)


@sound_class("bass drum beat", pitch=(45, 75), seconds=(0.3, 0.5))
def bass_drum(rng, g):
    return dsp.sine(dsp.phase(dsp.glide(3 * g.pitch, g.pitch, g.seconds))) * dsp.decay(
        dsp.samples(g.seconds), g.seconds
    )


@sound_class("snare drum hit", pitch=(160, 240), seconds=(0.2, 0.35))
def snare_drum(rng, g):
    body = dsp.modes((g.pitch, 1.6 * g.pitch), (0.12, 0.1), (1, 0.6), g.seconds)
    return body + dsp.noise(rng, g.seconds, 1200, 8000) * dsp.decay(len(body), 0.18)


@sound_class("cymbal crash", "cymbal crashes", seconds=(1.2, 2.2))
def cymbal(rng, g):
    return dsp.noise(rng, g.seconds, 3500, 8000, 2) * dsp.decay(dsp.samples(g.seconds), g.seconds)


@sound_class("tom drum hit", pitch=(80, 180), seconds=(0.35, 0.6))
def tom_drum(rng, g):
    return _thud(rng, g.pitch, g.seconds, 0.1)


@sound_class("hand clap", seconds=(0.12, 0.2))
def hand_clap(rng, g):
    return dsp.noise(rng, g.seconds, 900, 4000) * dsp.decay(dsp.samples(g.seconds), 0.08)


@sound_class("applause", "applause", rate=(60, 400), texture=True)
def applause(rng, g):
    clap = dsp.noise(rng, 0.03, 900, 4000) * dsp.decay(dsp.samples(0.03), 0.03)
    return dsp.grains(rng, g.seconds, g.rate, clap)


@sound_class("bouncing ball", rate=(2, 4), seconds=(1.2, 2.2))
def ball_bounce(rng, g):
    out, hit = np.zeros(dsp.samples(g.seconds + 0.3), np.float32), _thud(rng, 160, 0.12, 0.2)
    onset, gap, gain = 0.0, 1 / g.rate, 1.0
    while onset < g.seconds and gap > 0.03:
        start = dsp.samples(onset)
        out[start : start + len(hit)] += gain * hit[: len(out) - start]
        onset, gap, gain = onset + gap, 0.82 * gap, 0.8 * gain
    return out[: dsp.samples(g.seconds)]


@sound_class("dropped coin", pitch=(3000, 5000), seconds=(0.5, 1.0))
def coin_drop(rng, g):
    ring = dsp.modes((g.pitch, 1.7 * g.pitch), (0.15, 0.1), (1, 0.6), 0.2)
    spin = dsp.repeated(rng, g.seconds, 18, ring, 0.05)
    return spin * dsp.decay(len(spin), g.seconds)


@sound_class("zipper", rate=(60, 120), seconds=(0.3, 0.7))
def zipper(rng, g):
    tooth = dsp.noise(rng, 0.004, 2000, 8000)
    curve = dsp.glide(g.rate, 2 * g.rate, g.seconds)
    pulses = np.diff(np.floor(dsp.phase(curve)), prepend=0.0).astype(np.float32)
    return dsp.shaped(np.convolve(pulses, tooth)[: len(pulses)].astype(np.float32))


@sound_class("sawing wood", "sawing wood", rate=(1.2, 2.6), texture=True)
def sawing(rng, g):
    stroke = np.abs(np.sin(np.pi * g.rate * dsp.times(g.seconds))).astype(np.float32)
    teeth = 0.5 + 0.5 * dsp.square(dsp.phase(110 * (0.5 + stroke)))
    return dsp.noise(rng, g.seconds, 600, 5000) * stroke * teeth


@sound_class("heartbeat", "heartbeats", rate=(0.9, 1.8), texture=True)
def heartbeat(rng, g):
    beat = _thud(rng, 50, 0.14, 0.0)
    pair = np.concatenate([beat, np.zeros(dsp.samples(0.1), np.float32), 0.7 * beat])
    return dsp.repeated(rng, g.seconds, g.rate, pair, 0.01)


@sound_class("heavy breathing", "heavy breathing", rate=(0.3, 0.7), texture=True)
def breathing(rng, g):
    swell = np.abs(np.sin(np.pi * g.rate * dsp.times(g.seconds))).astype(np.float32) ** 2
    return dsp.formants(dsp.noise(rng, g.seconds), ((700, 400, 1), (1800, 600, 0.6))) * swell


@sound_class("gunshot", seconds=(0.4, 0.8))
def gunshot(rng, g):
    return dsp.noise(rng, g.seconds, 40, 7000, -3) * dsp.decay(dsp.samples(g.seconds), 0.3)


@sound_class("explosion", seconds=(1.5, 3.0))
def explosion(rng, g):
    bang = dsp.noise(rng, g.seconds, 20, 900, -5) * dsp.decay(dsp.samples(g.seconds), g.seconds)
    return bang + 0.5 * dsp.noise(rng, g.seconds, 20, 5000) * dsp.decay(len(bang), 0.2)


@sound_class("firework", seconds=(1.6, 2.6))
def firework(rng, g):
    rise = dsp.sine(dsp.phase(dsp.glide(900, 2600, 0.55 * g.seconds)))
    pops = dsp.grains(rng, 0.45 * g.seconds, 60, dsp.noise(rng, 0.01, 500, 7000))
    return np.concatenate(
        [0.3 * dsp.shaped(rise, 0.1, 0.1), pops * dsp.decay(len(pops), g.seconds / 2)]
    )
