"""Delimited text (CSV, TSV ...) to rows, whatever its writer meant by quotes.

Spreadsheets put values in double quotes, which may span lines. Common Voice's TSV, LJSpeech's table
and much that is written by hand use quotes as plain characters; read as CSV they would merge rows.
Which it is follows from the whole file; where both readings hold, the file is refused.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator

from audioldm2_jax.errors import InputError

# The module's limit of 128 kB is for all of the process; a table is in memory already.
csv.field_size_limit(1 << 30)

_DELIMITERS = ",;\t|"
# Writers of these mostly mean nothing by quotes.
_PLAIN = "\t|"
_MOST_COLUMNS = 1000
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
    rows = [_named(row, columns, name, number) for number, row in table]
    if rows:  # which columns there are stands in the first row, though it may be short
        rows[0] = {column: rows[0].get(column, "") for column in columns if column}
    return rows


def _without_title(lines: list[str]) -> list[str]:
    """Lines that begin with "# " above the header, as people write them, count as empty.

    A header that is written so itself stands alone, above a row of as many values.
    """
    titles = []
    for number, line in enumerate(lines):
        if line.startswith("# "):
            titles.append(number)
        elif line.strip():
            blank = [""] * number
            if len(titles) == 1 and _is_header(head := lines[titles[0]][2:], line):
                blank[titles[0]] = head
            return blank + lines[number:]
    return []


def _is_header(head: str, line: str) -> bool:
    """Whether the line below it holds values rather than names of columns."""
    delimiter = _delimiter([head], False)
    cells = [cell.strip().strip('"') for cell in line.split(delimiter)]
    alike = 0 < head.count(delimiter) == line.count(delimiter)
    return (
        alike
        and any(map(_FILE.search, cells))
        and not any(map(_FILE.search, head.split(delimiter)))
    )


def _delimiter(lines: list[str], tsv: bool) -> str:
    head = next((line for line in lines if line.strip()), "")
    if tsv and "\t" in head:
        return "\t"
    return max(_DELIMITERS, key=head.count)


def _header(row: list[str], name: str) -> list[str]:
    columns = [cell.strip() for cell in row]
    twice = sorted(c for c, count in Counter(columns).items() if c and count > 1)
    if twice:
        raise InputError(f"{name}: two columns are named {twice[0]!r}; rename one")
    if len(columns) > _MOST_COLUMNS:
        raise InputError(f"{name}: {len(columns)} columns; at most {_MOST_COLUMNS} are read")
    return columns


def _named(row, columns, name, number) -> dict:
    """A row's values by column, as many as it has."""
    if any(map(str.strip, row[len(columns) :])):
        width = max(i for i, cell in enumerate(row, 1) if cell.strip())
        raise _too_wide(name, number, width, len(columns))
    values = dict(zip(columns, row))
    values.pop("", None)
    return values


def _too_wide(name, number, width, columns) -> InputError:
    return InputError(
        f"{name}: line {number} has {width} values for {columns} columns; put values that contain "
        "the delimiter in double quotes"
    )


def _rows(lines: list[str], delimiter: str, name: str) -> list[tuple[int, list[str]]]:
    """(line, values) of each row, by the reading that the file as a whole bears out."""
    if not any('"' in line for line in lines):
        return [(n, line.split(delimiter)) for n, line in enumerate(lines, 1)]
    quoted, broken = _quoted(lines, delimiter, name)
    if delimiter in _PLAIN and not (quoted and _needed(quoted, lines, delimiter)):
        plain = [(n, line.split(delimiter)) for n, line in enumerate(lines, 1)]
        if _exact(plain) or (not quoted and _even(plain)):
            return plain
    if quoted and not _spans(quoted):
        return quoted
    by_line = _by_line(lines, delimiter)
    if by_line is None:
        if quoted:
            return quoted
        assert broken is not None  # without rows there is a reason
        raise broken
    if not quoted:
        return by_line
    return _choose(quoted, by_line, name)


def _quoted(lines, delimiter, name) -> tuple[list | None, InputError | None]:
    """The file as CSV; (None, what is wrong) if it is none, or its rows are uneven."""
    wrong = None
    for text, dialect in _forms(lines, delimiter):
        reader = csv.reader(
            text, delimiter=delimiter, skipinitialspace=True, strict=True, **dialect
        )
        rows, start = [], 1
        try:
            for row in reader:
                # The last line break belongs to the row, not to a value.
                rows.append((start, row))
                start = reader.line_num + 1
        except csv.Error:
            wrong = wrong or InputError(
                f"{name}: line {start} opens a quote that is not closed as CSV has it; write "
                'quotes within a quoted value twice ("")'
            )
            continue
        if _even(rows):
            return rows, None
        columns = next(len(row) for _, row in rows if any(map(str.strip, row)))
        number, row = next((n, r) for n, r in rows if any(map(str.strip, r[columns:])))
        width = max(i for i, cell in enumerate(row, 1) if cell.strip())
        # A reading that gets to the file's end knows better what is wrong.
        wrong = _too_wide(name, number, width, columns)
    return None, wrong


def _forms(lines, delimiter) -> Iterator[tuple[list[str], dict]]:
    """(lines, settings of csv) of each way of writing CSV that occurs."""
    text = [line + "\n" for line in lines]
    yield text, {}
    if any('\\"' in line for line in lines):
        yield text, {"doublequote": False, "escapechar": "\\"}
    blank = " " if delimiter == "\t" else " \t"
    if any(re.search(rf'"[{blank}]', line) for line in lines):
        # Blanks between a closing quote and what follows are no part of a value.
        closed = rf'("[^"]*(?:""[^"]*)*")(?:[{blank}]+(?=[{delimiter}\n]))?'
        trimmed = re.sub(closed, r"\1", "".join(text))
        yield [line + "\n" for line in trimmed.split("\n")[:-1]], {}


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


def _by_line(lines, delimiter) -> list | None:
    """Each line a row: as CSV where it is well-formed alone, else its quotes are characters.

    None where a row has not the first one's number of values.
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
            return None
        rows.append((number, row))
    return rows


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
