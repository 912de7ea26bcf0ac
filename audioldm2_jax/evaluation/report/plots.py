"""Plots of a report as inline SVG. Colours are the page's variables, so dark mode holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from audioldm2_jax.evaluation.report.markup import safe
from audioldm2_jax.evaluation.report.tables import number
from audioldm2_jax.pictures import tick_step

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 44
_ROW, _LABEL = 20, 170  # of bars: height of one, width of the names
_SHORTEST = 24  # letters of a name
SERIES = 6  # curves that one plot tells apart (style.py)


def _svg(width: int, height: int, title: str, body: Sequence[str]) -> str:
    name = safe(title)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{name}"><title>{name}</title>{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", name: str = "") -> str:
    attribute = f' class="{name}"' if name else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attribute}>{safe(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{name}"/>'


class _Axes:
    """A plot's area: data coordinates to pixels, with ticks and names of both axes."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str):
        self.x, self.y = _extent(xs), _extent(ys)
        self._names = x_name, y_name

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return (
            _LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * width,
            HEIGHT - _BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * height,
        )

    def frame(self) -> list[str]:
        """Both axes, grid and names."""
        parts, bottom = [], HEIGHT - _BOTTOM
        for x in _ticks(*self.x):
            left, _ = self.at(x, self.y[0])
            parts.append(_text(left, bottom + 16, f"{x:g}"))
            parts.append(_line(left, bottom, left, bottom + 4, "axis"))
        for y in _ticks(*self.y):
            _, top = self.at(self.x[0], y)
            parts.append(_line(_LEFT, top, WIDTH - _RIGHT, top, "grid"))
            parts.append(_text(_LEFT - 6, top + 4, f"{y:g}", "end"))
        parts.append(_line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis"))
        parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, self._names[0]))
        middle = (_TOP + bottom) / 2
        name = safe(self._names[1])
        parts.append(
            f'<text transform="translate(14 {middle:.0f}) rotate(-90)" '
            f'text-anchor="middle">{name}</text>'
        )
        return parts


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """Limits around values, a twentieth wider; never empty."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return low - margin if low else low, high + margin


def _ticks(low: float, high: float) -> list[float]:
    step = tick_step(high - low, 6)
    first = math.ceil(low / step - 1e-9)
    count = int((high - first * step) / step + 1e-9) + 1
    return [round((first + i) * step, 12) for i in range(count)]


def curve(points: Sequence[Sequence[float]], *, title: str, x_name: str, y_name: str) -> str:
    """A curve through points (x, y)."""
    points = sorted((float(x), float(y)) for x, y in points)
    axes = _Axes([x for x, _ in points], [0.0, *(y for _, y in points)], x_name, y_name)
    pixels = [axes.at(x, y) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    body = [*axes.frame(), f'<polyline points="{path}" class="curve"/>']
    body += [_dot(x, y, f"{p[0]:g}: {number(p[1])}") for (x, y), p in zip(pixels, points)]
    return _svg(WIDTH, HEIGHT, title, body)


def curves(
    series: Mapping[str, Sequence[Sequence[float]]], *, title: str, x_name: str, y_name: str
) -> str:
    """A curve through the points (x, y) of each name, told apart by colour, dashes and a legend."""
    named = {n: sorted((float(x), float(y)) for x, y in p) for n, p in series.items()}
    points = [point for of_name in named.values() for point in of_name]
    axes = _Axes([x for x, _ in points], [0.0, *(y for _, y in points)], x_name, y_name)
    body = axes.frame()
    for i, (name, of_name) in enumerate(named.items()):
        pixels, kind = [axes.at(x, y) for x, y in of_name], f"of{i % SERIES}"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
        body.append(f'<polyline points="{path}" class="curve {kind}"/>')
        for (x, y), (left, top) in zip(of_name, pixels):
            body.append(_dot(left, top, f"{name}, {x:g}: {number(y)}", f"dot {kind}"))
        top = HEIGHT + 16 * i + 8
        body.append(_line(_LEFT, top, _LEFT + 36, top, f"curve {kind}"))
        body.append(_text(_LEFT + 44, top + 4, name, "start"))
    return _svg(WIDTH, HEIGHT + 16 * len(named) + 8, title, body)


def extrapolation(
    points: Sequence[Sequence[float]], intercept: float, *, title: str, y_name: str
) -> str:
    """Values (n, y) over 1/n with the line of least squares, whose intercept is given."""
    inverse = [(1 / n, y) for n, y in points]
    right = max(x for x, _ in inverse)
    slope = sum(x * (y - intercept) for x, y in inverse) / sum(x * x for x, _ in inverse)
    ys = [intercept, intercept + slope * right, *(y for _, y in inverse)]
    axes = _Axes([0.0, right], ys, "1 / N", y_name)
    start, end = axes.at(0, intercept), axes.at(right, intercept + slope * right)
    body = [*axes.frame(), _line(*start, *end, "curve")]
    for (n, y), (x, _) in zip(points, inverse):
        body.append(_dot(*axes.at(x, y), f"N = {n:g}: {number(y)}"))
    body.append(_dot(*start, f"N to infinity: {number(intercept)}", "intercept"))
    body.append(_text(start[0] + 8, start[1] - 8, number(intercept), "start"))
    return _svg(WIDTH, HEIGHT, title, body)


def _dot(x: float, y: float, title: str, name: str = "dot") -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="{name}">'
        f"<title>{safe(title)}</title></circle>"
    )


def histogram(values: Sequence[float], *, title: str, x_name: str, bins: int = 24) -> str:
    """How many clips have which value."""
    low, high = min(values), max(values)
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1
    axes = _Axes([low, low + bins * width], [0, max(counts)], x_name, "clips")
    body = axes.frame()
    for i, count in enumerate(counts):
        left, top = axes.at(low + i * width, count)
        right, bottom = axes.at(low + (i + 1) * width, 0)
        text = f"{number(low + i * width)} to {number(low + (i + 1) * width)}: {count} clips"
        body.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
            f'height="{bottom - top:.1f}" class="bar"><title>{safe(text)}</title></rect>'
        )
    return _svg(WIDTH, HEIGHT, title, body)


def bars(rows: Sequence[tuple[str, float, float | None, float | None]], *, title: str) -> str:
    """Horizontal bars: (name, value, low, high) each; the interval is a whisker."""
    values = [v for _, *numbers in rows for v in numbers if v is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    scale = (WIDTH - _LABEL - 70) / ((high - low) or 1.0)
    zero, body = _LABEL - low * scale, []
    for i, (name, value, least, most) in enumerate(rows):
        y = 4 + i * _ROW
        short = name if len(name) <= _SHORTEST else f"{name[: _SHORTEST - 3]}..."
        body.append(_text(_LABEL - 8, y + 13, short, "end"))
        x, end = sorted((zero, zero + value * scale))
        body.append(
            f'<rect x="{x:.1f}" y="{y + 3}" width="{end - x:.1f}" height="{_ROW - 7}" class="bar">'
            f"<title>{safe(name)}: {number(value)}</title></rect>"
        )
        if least is not None and most is not None:
            middle = y + _ROW / 2 - 0.5
            body.append(_line(zero + least * scale, middle, zero + most * scale, middle, "whisker"))
            end = max(end, zero + most * scale)
        body.append(_text(end + 6, y + 13, number(value), "start"))
    return _svg(WIDTH, 8 + _ROW * len(rows), title, body)
