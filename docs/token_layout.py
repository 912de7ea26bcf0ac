"""Draws docs/token_layout.svg: the sequences of AudioLM's three stages.

    python docs/token_layout.py

A recording of two seconds goes on for one, at small rates: the figure has room for few tokens.
"""

from __future__ import annotations

from pathlib import Path

TARGET = Path(__file__).with_suffix(".svg")
WIDTH, CELL, GAP, LEFT, ROW = 980, 26, 3, 150, 96
INK, PAPER = "#222222", "#ffffff"
# Fill of prompt tokens; tokens that are drawn have it as their frame.
COLOURS = {"semantic": "#4477aa", "coarse": "#cc8833", "fine": "#558855", "mark": "#777777"}


def text(x: float, y: float, content: str, *, size: int = 13, fill: str = INK, anchor="start"):
    """A line of text whose baseline is at y; `sub` marks what is set lower."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{content}</text>'


def label(letter: str, time: int, level: int | None = None) -> str:
    """A token's name: its letter, its time below, its level above."""
    name = f'{letter}<tspan font-size="9" dy="4">{time}</tspan>'
    if level is not None:
        name += f'<tspan font-size="9" dy="-10">{level}</tspan>'
    return name
