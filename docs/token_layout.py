"""Draws docs/token_layout.svg, the sequences of AudioLM's three stages.

    python docs/token_layout.py

Of a recording of two frames that goes on for two more, with two coarse and two fine levels.
"""

from __future__ import annotations

from pathlib import Path

TARGET = Path(__file__).with_suffix(".svg")
CELL, GAP, LEFT, TOP, ROW = 36, 4, 118, 64, 78
FRAMES, KNOWN, COARSE, LEVELS = 4, 2, 2, 4
INK, PAPER = "#222222", "#ffffff"
COLOURS = {"z": "#3b6ea8", "coarse": "#c77a1f", "fine": "#3f7f4f", "mark": "#6b6b6b"}
# A token: what it is called (letter, below, above), its colour, whether it is known.
Token = tuple[str, str, str, str, bool]


def semantic() -> list[Token]:
    """One token for each frame, as if HuBERT's."""
    tokens = [("z", str(t), "", "z", t <= KNOWN) for t in range(1, FRAMES + 1)]
    return [("SEM", "", "", "mark", True), *tokens]


def codes(first: int, last: int, kind: str, known: int) -> list[Token]:
    """Levels first..last of all frames, frame by frame."""
    return [
        ("y", str(t), str(q), kind, t <= known)
        for t in range(1, FRAMES + 1)
        for q in range(first, last + 1)
    ]


def rows() -> list[tuple[str, str, list[Token]]]:
    """(name, what it reads and predicts, its sequence) of each stage."""
    given = [(*token[:4], True) for token in semantic()]
    coarse = [("CRS", "", "", "mark", True), *codes(1, COARSE, "coarse", KNOWN)]
    whole = [("CRS", "", "", "mark", True), *codes(1, COARSE, "coarse", FRAMES)]
    fine = [("FINE", "", "", "mark", True), *codes(COARSE + 1, LEVELS, "fine", KNOWN)]
    return [
        ("1 semantic", "25 or 50 a second", semantic()),
        ("2 coarse", "levels 1 to 4", given + coarse),
        ("3 fine", "levels 5 to 12, 3 s", whole + fine),
    ]


def text(x: float, y: float, content: str, size: int, fill: str = INK, anchor: str = "middle"):
    """A line of text whose baseline is at y."""
    style = f'font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{content}</text>'


def cell(x: float, y: float, token: Token) -> str:
    """A known token is filled; one that the stage predicts is framed."""
    letter, below, above, kind, known = token
    colour = COLOURS[kind]
    fill, ink = (colour, PAPER) if known else (PAPER, colour)
    box = (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" rx="4" fill="{fill}" '
        f'stroke="{colour}" stroke-width="2"/>'
    )
    middle = x + CELL / 2
    if kind == "mark":
        return box + text(middle, y + 22, letter, 11, ink)
    name = text(middle - 5, y + 23, letter, 16, ink) + text(middle + 6, y + 28, below, 10, ink)
    return box + name + (text(middle + 6, y + 15, above, 10, ink) if above else "")


def figure() -> str:
    """The content of the file."""
    sequences = rows()
    width = LEFT + max(len(tokens) for _, _, tokens in sequences) * (CELL + GAP) + 12
    height = TOP + len(sequences) * ROW
    parts = [f'<rect width="{width}" height="{height}" fill="{PAPER}"/>']
    for x, known, content in ((LEFT, True, "known"), (LEFT + 130, False, "predicted")):
        parts.append(cell(x, 14, ("", "", "", "z", known)))
        parts.append(text(x + CELL + 8, 37, content, 14, anchor="start"))
    note = "subscript: frame, 1 and 2 of the recording; superscript: level of the codec"
    parts.append(text(LEFT + 290, 37, note, 13, anchor="start"))
    for i, (name, rate, tokens) in enumerate(sequences):
        y = TOP + i * ROW + 12
        parts.append(text(12, y + 16, name, 14, anchor="start"))
        parts.append(text(12, y + 33, rate, 10, COLOURS["mark"], anchor="start"))
        parts += [cell(LEFT + j * (CELL + GAP), y, token) for j, token in enumerate(tokens)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif">'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(figure(), encoding="utf-8")
