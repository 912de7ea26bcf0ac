"""Log-mel spectrograms as pictures."""

from __future__ import annotations

import contextlib
import io
import math
import unicodedata

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.errors import printable
from audioldm2_jax.features.mel_scale import hz_to_mel, slaney_filters

WINDOW = 0.064  # seconds
RANGE = 60  # dB from the loudest to black
# A clip's picture in pixels: the plot and the margins around it.
PLOT, LEFT, TOP, MARGIN = (512, 192), 66, 36, 14
WIDTH, HEIGHT, INK = LEFT + PLOT[0] + 78, TOP + PLOT[1] + 46, (40, 40, 40)

# Fonts of Linux, macOS and Windows for titles in other scripts.
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc")
# Dark to bright, even in lightness (anchors of matplotlib's magma).
_COLOURS = np.array(
    [
        (0, 0, 4),
        (40, 17, 89),
        (114, 31, 129),
        (183, 55, 121),
        (241, 96, 93),
        (254, 159, 109),
        (252, 253, 191),
    ],
    np.float32,
)


def mel_picture(audio: np.ndarray, sample_rate: int, *, height: int = 96, width: int = 256):
    """A mel spectrogram, 60 dB: audio [samples] -> uint8 [height, width, 3].

    Time runs to the right, frequency upwards. A clip of fewer than `width` samples has fewer
    columns.
    """
    window, hop = round(WINDOW * sample_rate), max(1, len(audio) // width)
    # Zero-padded fourfold, so that even the narrowest filters contain a bin.
    fft = 4 << (window - 1).bit_length()
    audio = np.pad(np.asarray(audio, np.float32), fft // 2)
    power = _power_spectrogram(audio, fft, window, hop)[:width]
    mel = slaney_filters(sample_rate, fft, height, 0.0, sample_rate / 2) @ power.T
    loudest = mel.max()
    if loudest == 0:
        return colours(np.full_like(mel, -RANGE), -RANGE, 0)
    decibels = 10 * np.log10(np.maximum(mel / loudest, 1e-10))
    return colours(decibels[::-1], -RANGE, 0)


def _power_spectrogram(audio: np.ndarray, fft: int, window: int, hop: int) -> np.ndarray:
    """[samples] -> [frames, 1 + fft // 2]; a periodic Hann window in the middle of each frame."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    start = (fft - window) // 2
    frames = np.lib.stride_tricks.sliding_window_view(audio, fft)[::hop]
    spectrum = np.zeros((len(frames), 1 + fft // 2), np.complex64)
    for i, frame in enumerate(frames):
        spectrum[i] = np.fft.rfft(np.pad(frame[start : start + window] * hann, (start, 0)), fft)
    return np.square(np.abs(spectrum))


def colours(values: np.ndarray, low: float | None = None, high: float | None = None):
    """Colours of values: [H, W] -> uint8 [H, W, 3]. low, high: the scale; None: their extremes."""
    bottom = values.min() if low is None else low
    top = values.max() if high is None else high
    position = np.clip((values - bottom) / max(top - bottom, 1e-9), 0, 1) * (len(_COLOURS) - 1)
    low = np.clip(position.astype(int), 0, len(_COLOURS) - 2)
    part = (position - low)[..., None]
    return (_COLOURS[low] * (1 - part) + _COLOURS[low + 1] * part).astype(np.uint8)


def clip_picture(audio: np.ndarray, sample_rate: int, title: str) -> np.ndarray:
    """A mel spectrogram with a title and axes in seconds, Hz and dB below the maximum.

    audio: [samples] -> uint8 [HEIGHT, WIDTH, 3]. Letters of the title that no installed font has
    appear as "?".
    """
    from PIL import Image, ImageDraw

    mel = mel_picture(audio, sample_rate, height=PLOT[1], width=PLOT[0])
    columns = (np.arange(PLOT[0]) + 0.5) / PLOT[0] * mel.shape[1]
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    image.paste(Image.fromarray(mel[:, columns.astype(int)]), (LEFT, TOP))
    draw = ImageDraw.Draw(image)
    _title(draw, title)
    _times(draw, len(audio) / sample_rate)
    _frequencies(image, draw, sample_rate)
    _decibels(image, draw)
    return np.asarray(image)


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _title(draw, text: str) -> None:
    """One line, cut where it would leave the picture."""
    font, text = _font_for(" ".join(printable(text).split()), 15)
    shown, room = text, WIDTH - 2 * MARGIN
    while draw.textlength(shown, font) > room:
        text = text[:-1]
        shown = f"{text.rstrip()}..."
    draw.text((MARGIN, TOP // 2), shown, INK, font, anchor="lm")


def _font_for(text: str, size: int):
    """(font, text): Pillow's own where it has all letters, else a system's that has them.

    Without such a font: Pillow's, letters without their accents, and "?" for what it lacks.
    """
    from PIL import ImageFont

    own = _font(size)
    if _has(own, text):
        return own, text
    for name in _SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            font = ImageFont.truetype(name, size)
            if _has(font, text):
                return font, text
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return own, "".join(c if _has(own, c) else "?" for c in plain)


def _has(font, text: str) -> bool:
    """Whether a font has a glyph for every letter."""
    missing = bytes(font.getmask("\uffff"))
    return all(c == " " or bytes(font.getmask(c)) != missing for c in set(text))


def _times(draw, seconds: float) -> None:
    bottom, step = TOP + PLOT[1], tick_step(seconds)
    for i in range(int(seconds / step + 1e-6) + 1):
        x = LEFT + round(i * step / seconds * (PLOT[0] - 1))
        draw.line((x, bottom, x, bottom + 4), INK)
        draw.text((x, bottom + 7), f"{i * step:g}", INK, _font(12), anchor="mt")
    draw.text((LEFT + PLOT[0] / 2, HEIGHT - 6), "time in s", INK, _font(12), anchor="mb")


def _frequencies(image, draw, sample_rate: int) -> None:
    from PIL import Image, ImageDraw

    top = hz_to_mel(sample_rate / 2)
    for hertz in (100, 500, 1000, 2000, 4000, 8000, 16000):
        # Row i shows the filter whose centre is (i + 1) / (rows + 1) of the scale.
        row = hz_to_mel(hertz) / top * (PLOT[1] + 1) - 1
        if not 0 <= row <= PLOT[1]:
            continue
        y = TOP + PLOT[1] - 1 - min(round(row), PLOT[1] - 1)
        draw.line((LEFT - 4, y, LEFT - 1, y), INK)
        draw.text((LEFT - 8, y), str(hertz), INK, _font(12), anchor="rm")
    label = Image.new("RGB", (PLOT[1], 16), "white")
    ImageDraw.Draw(label).text((PLOT[1] / 2, 8), "frequency in Hz", INK, _font(12), anchor="mm")
    image.paste(label.rotate(90, expand=True), (3, TOP))


def _decibels(image, draw) -> None:
    """The colour bar, right of the plot."""
    from PIL import Image

    left = LEFT + PLOT[0] + 14
    bar = np.linspace(0, -RANGE, PLOT[1], dtype=np.float32)[:, None].repeat(12, 1)
    image.paste(Image.fromarray(colours(bar, -RANGE, 0)), (left, TOP))
    for level in range(0, -RANGE - 1, -20):
        y = TOP + round(-level / RANGE * (PLOT[1] - 1))
        draw.line((left + 12, y, left + 15, y), INK)
        draw.text(
            (left + 19, y), f"{level} dB" if level == 0 else str(level), INK, _font(12), anchor="lm"
        )


def tick_step(extent: float, most: int = 8) -> float:
    """The step of 1, 2 or 5 times a power of ten with at most `most` ticks in an extent."""
    power = 10.0 ** math.floor(math.log10(extent / most))
    return next(n * power for n in (1, 2, 5, 10) if n * power * most >= extent)


def encode_png(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as the content of a PNG: 40 colours of the scale and 8 greys for text."""
    from PIL import Image

    scale = colours(np.linspace(0, 1, 40, dtype=np.float32)[None])[0]
    greys = np.linspace(INK[0], 255, 8).astype(np.uint8)[:, None].repeat(3, 1)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([scale, greys]).tobytes())
    few = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, format="PNG", optimize=True)
    return file.getvalue()


def save_png(path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] in 64 colours; the file is whole or absent."""
    files.write_bytes(path, encode_png(picture))
