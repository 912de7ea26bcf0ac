"""Pictures of clips: axes where the sound is, sizes, and any title."""

import io

import numpy as np
import pytest
from PIL import Image

from audioldm2_jax import pictures
from audioldm2_jax.pictures import LEFT, PLOT, TOP, clip_picture, encode_png, tick_step


def plot(picture):
    return picture[TOP : TOP + PLOT[1], LEFT : LEFT + PLOT[0]].astype(int).sum(-1)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("hertz", [500, 1000, 4000])
def test_a_tone_lies_at_its_tick(rate, hertz):
    """The brightest row is the one that the axis calls so many Hz; the beep fills its time."""
    seconds = 2.0
    wave = np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    wave[: rate // 2] = 0
    picture = clip_picture(wave, rate, "tone")
    bright = plot(picture)
    row = bright[:, PLOT[0] // 2 :].mean(1).argmax()
    ticks = np.flatnonzero((picture[:, LEFT - 3] == pictures.INK).all(-1)) - TOP
    assert np.abs(ticks - row).min() <= 1
    onset = np.flatnonzero(bright[row] > bright[row].max() / 2)[0] / PLOT[0] * seconds
    assert onset == pytest.approx(0.5, abs=0.05)


def test_silence_is_dark_and_noise_is_small():
    assert plot(clip_picture(np.zeros(16000), 16000, "silence")).max() < 30
    noise = np.random.default_rng(0).standard_normal(163840)
    assert len(encode_png(clip_picture(noise, 16000, "noise"))) < 60_000


@pytest.mark.parametrize("samples", [1, 10, 300, 1000, 160_000])
def test_any_length(samples):
    wave = np.random.default_rng(0).standard_normal(samples)
    assert clip_picture(wave, 16000, "x").shape == (pictures.HEIGHT, pictures.WIDTH, 3)


TITLES = ["", "a" * 500, "雨の音", "naïve café", "a\x1b[31m\n\tb", "\ud800", "🎸", "% {} \\"]


@pytest.mark.parametrize("title", TITLES)
def test_any_title_stays_inside(title):
    picture = clip_picture(np.ones(1000), 16000, title)
    assert (picture[:TOP, -pictures.MARGIN + 4 :] == 255).all()
    assert ((picture[: TOP - 8] < 255).any()) == bool(title.strip())


@pytest.mark.parametrize("extent", [1e-4, 0.3, 1, 2.56, 7.99, 10.24, 600])
def test_ticks(extent):
    step = tick_step(extent)
    assert 2 <= extent / step <= 8 and step / 10 ** np.floor(np.log10(step)) in (1, 2, 5, 10)


def test_colours_survive_the_palette():
    picture = clip_picture(np.random.default_rng(0).standard_normal(16000), 16000, "x")
    with Image.open(io.BytesIO(encode_png(picture))) as back:
        assert np.abs(np.asarray(back.convert("RGB")).astype(int) - picture).mean() < 6
