"""HTML that all reports are made of: pages that need no other file and no network.

Names of clips, labels and captions come from outside: `safe` escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from audioldm2_jax.errors import printable
from audioldm2_jax.evaluation.report.style import STYLE


def safe(value) -> str:
    """A value as text of a page."""
    return escape(printable(str(value)))


def document(title: str, sections: Sequence[str], style: str = "") -> str:
    """A whole page of the sections that are not empty. style: CSS besides that of all reports."""
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{safe(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def header(title: str, facts: Sequence[str]) -> str:
    """The head of a page. facts: escaped already."""
    line = " &middot; ".join(facts)
    return f'<header><h1>{safe(title)}</h1><p class="facts">{line}</p></header>'


def section(title: str, *parts: str) -> str:
    """A section of parts that are escaped already."""
    return f"<section>\n<h2>{safe(title)}</h2>\n{''.join(parts)}\n</section>"


def warning(title: str, lines: Sequence[str], lead: str = "") -> str:
    """A box of lines; "" without any. lead: a sentence before them."""
    if not lines:
        return ""
    items = "".join(f"<li>{safe(line)}</li>" for line in lines)
    before = f"<p>{safe(lead)}</p>" if lead else ""
    return f'<div class="warning" role="alert"><h2>{safe(title)}</h2>{before}<ul>{items}</ul></div>'


def table(names: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of cells that are escaped already; the first cell of a row names it."""
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table><caption>{safe(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )
