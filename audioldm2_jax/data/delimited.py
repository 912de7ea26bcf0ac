"""Delimited text (CSV, TSV ...) to rows, whatever its writer meant by quotes.

Spreadsheets put values in double quotes, which may span lines. Common Voice's TSV, LJSpeech's table
and much that is written by hand use quotes as plain characters; read as CSV they would merge rows.
Which it is follows from the whole file; where both readings hold, the file is refused.
"""

from __future__ import annotations

import csv
import re

from audioldm2_jax.errors import InputError

# The module's limit of 128 kB is for all of the process; a table is in memory already.
csv.field_size_limit(1 << 30)

_DELIMITERS = ",;\t|"
# Writers of these mostly mean nothing by quotes.
_PLAIN = "\t|"
_FILE = re.compile(r"[^\s\"]\.[A-Za-z0-9]{1,5}$|^-?\d+(\.\d+)?$")


def read(
    text: str, name: str, columns: list[str] | None = None, *, comment: str = "", tsv: bool = False
) -> list[dict]:
    """Rows by column; lines that begin with `comment`, and empty ones, are passed over.

    columns: for a comma-separated table without a header. Raises InputError naming the line.
    """
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{name}: line {line} holds a NUL; save the file as UTF-8 text")
    text = text.replace("\r\n", "\n")
    lines = text.split("\n") if "\n" in text else text.split("\r")
    if comment:
        lines = ["" if line.startswith(comment) else line for line in lines]
    elif columns is None:
        lines = _without_title(lines)
    delimiter = "," if columns else _delimiter(lines, tsv)
    table = [(n, row) for n, row in _rows(lines, delimiter, name) if any(map(str.strip, row))]
    if columns is None:
        if not table:
            return []
        columns = _header(table.pop(0)[1], name)
    return [_named(row, columns, name, number) for number, row in table]


def _without_title(lines: list[str]) -> list[str]:
    """Lines that begin with "# " above the header, as people write them, count as empty."""
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith("# "):
            return [""] * number + lines[number:]
    return []


def _delimiter(lines: list[str], tsv: bool) -> str:
    head = next((line for line in lines if line.strip()), "")
    if tsv and "\t" in head:
        return "\t"
    return max(_DELIMITERS, key=head.count)


def _header(row: list[str], name: str) -> list[str]:
    columns = [cell.strip() for cell in row]
    twice = sorted({c for c in columns if c and columns.count(c) > 1})
    if twice:
        raise InputError(f"{name}: two columns are named {twice[0]!r}; rename one")
    return columns


def _named(row, columns, name, number) -> dict:
    while len(row) > len(columns) and not row[-1].strip():
        row = row[:-1]
    if len(row) > len(columns):
        raise InputError(
            f"{name}: line {number} has {len(row)} values for {len(columns)} columns; put values "
            "that contain the delimiter in double quotes"
        )
    values = dict(zip(columns, row)) | dict.fromkeys(columns[len(row) :], "")
    values.pop("", None)
    return values


def _rows(lines: list[str], delimiter: str, name: str) -> list[tuple[int, list[str]]]:
    """(line, values) of each row, by the reading that the file as a whole bears out."""
    if not any('"' in line for line in lines):
        return [(n, line.split(delimiter)) for n, line in enumerate(lines, 1)]
    quoted, broken = _quoted(lines, delimiter)
    if delimiter in _PLAIN and not (quoted and _needed(quoted, lines, delimiter)):
        plain = [(n, line.split(delimiter)) for n, line in enumerate(lines, 1)]
        if _exact(plain) or (not quoted and _even(plain)):
            return plain
    if quoted and not _spans(quoted):
        return quoted
    by_line, torn = _by_line(lines, delimiter)
    if by_line is None:
        if quoted:
            return quoted
        raise InputError(
            f"{name}: line {broken or torn} opens a quote that is not closed as CSV has it; write "
            'quotes within a quoted value twice ("")'
        )
    if not quoted:
        return by_line
    return _choose(quoted, by_line, name)


def _quoted(lines, delimiter) -> tuple[list | None, int]:
    """The file as CSV; (None, the line where it breaks) if it is none, or its rows are uneven."""
    escaped = {"doublequote": False, "escapechar": "\\"}
    text = [line + "\n" for line in lines]
    first = 0
    for dialect in ({}, escaped) if any('\\"' in line for line in lines) else ({},):
        reader = csv.reader(
            text, delimiter=delimiter, skipinitialspace=True, strict=True, **dialect
        )
        rows, start = [], 1
        try:
            for row in reader:
                # The last line break belongs to the row, not to a value.
                rows.append((start, row))
                start = reader.line_num + 1
            if _even(rows):
                return rows, 0
            width = len(next(row for _, row in rows if row))
            first = first or next(n for n, row in rows if len(row) > width)
        except csv.Error:
            first = first or start
    return None, first


def _even(rows) -> bool:
    """Whether no row has more values than the first, empty ones at its end apart."""
    rows = [row for _, row in rows if any(map(str.strip, row))]
    return all(
        len(row) <= len(rows[0]) or not any(map(str.strip, row[len(rows[0]) :])) for row in rows
    )


def _exact(rows) -> bool:
    """Whether all rows have as many values as the first."""
    return len({len(row) for _, row in rows if any(map(str.strip, row))}) <= 1


def _spans(rows) -> bool:
    """Whether a value holds a line break."""
    return any("\n" in cell for _, row in rows for cell in row)


def _needed(rows, lines, delimiter) -> bool:
    """Whether quotes are a writer's: only where a value needs them, or throughout a column.

    A value needs them that holds a quote, a delimiter or a line break.
    """
    columns: dict[int, list[bool]] = {}
    special = ('"', delimiter, "\n")
    needless = False
    for number, row in rows:
        if not row or any("\n" in cell for cell in row):
            continue
        raw = _split(lines[number - 1], delimiter)
        if raw is None or len(raw) != len(row):
            return False
        for index, (cell, value) in enumerate(zip(raw, row)):
            held = cell.strip().startswith('"')
            if not held and '"' in cell:
                return False  # a writer would have quoted it
            if value.strip():
                columns.setdefault(index, []).append(held)
            needless |= held and not any(mark in value for mark in special)
    if not needless:
        return True
    return all(all(held[1:]) or not any(held[1:]) for held in columns.values())


def _split(line: str, delimiter: str) -> list[str] | None:
    """A line's values with their quotes; None if a quote is left open."""
    if '"' not in line:
        return line.split(delimiter)
    out, start, inside = [], 0, False
    for place, character in enumerate(line):
        if character == '"':
            inside = not inside
        elif character == delimiter and not inside:
            out.append(line[start:place])
            start = place + 1
    return None if inside else [*out, line[start:]]


def _by_line(lines, delimiter) -> tuple[list | None, int]:
    """Each line a row: as CSV where it is well-formed alone, else its quotes are characters.

    (None, the line) where a row has not the first one's number of values.
    """
    rows, width = [], 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = line.split(delimiter)
        if '"' in line and delimiter not in _PLAIN:
            try:
                (parsed,) = csv.reader(
                    [line], delimiter=delimiter, skipinitialspace=True, strict=True
                )
                row = parsed
            except csv.Error:
                pass
        width = width or len(row)
        if len(row) != width:
            return None, number
        rows.append((number, row))
    return rows, 0


def _choose(quoted, by_line, name):
    """The reading whose rows look like rows where a quoted value would span lines.

    What tells rows is a column that everywhere else holds names of files or numbers.
    """
    firsts = {n for n, _ in quoted}
    spans = {n for n, row in quoted if any("\n" in cell for cell in row)}
    sure = [row for n, row in by_line[1:] if n in firsts and n not in spans]
    inner = [(n, row) for n, row in by_line if n not in firsts]
    known = sure or [row for n, row in by_line[1:] if n in spans]
    keys = [
        i
        for i in range(len(by_line[0][1]))
        if known and all(i < len(row) and _FILE.search(row[i].strip()) for row in known)
    ]
    alike = [any(_FILE.search(row[i].strip()) for i in keys) for _, row in inner]
    if keys and all(alike):
        return by_line
    if keys and not any(alike):
        return quoted
    raise InputError(
        f"{name}: line {min(spans)} opens a quote, and it cannot be told whether its value goes on "
        'for several lines; write quotes within a value twice ("") or take them out'
    )
