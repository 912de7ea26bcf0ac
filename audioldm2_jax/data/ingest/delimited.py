"""Parses delimited text (CSV, TSV ...) with and without CSV quoting.

Spreadsheets quote values, and a quoted value may span lines. Common Voice's TSV, LJSpeech's table
and many files written by hand use quotes as plain characters; CSV rules would merge their rows. The
whole file decides which rules apply. A file that both rules parse differently is refused.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator

from audioldm2_jax.errors import InputError

# The default limit of 128 kB holds for the whole process; a table is in memory already.
csv.field_size_limit(1 << 30)

_DELIMITERS = ",;\t|"
# Files with these delimiters rarely use CSV quoting.
_PLAIN = "\t|"
_MAX_COLUMNS = 1000
_FILE_OR_NUMBER = re.compile(r"[^\s\"]\.[A-Za-z0-9]{1,5}$|^-?\d+(\.\d+)?$")


def read_delimited(
    text: str, name: str, columns: list[str] | None = None, *, comment: str = "", tsv: bool = False
) -> list[dict]:
    """Returns a table's rows as dicts of text by column, without empty lines.

    name: of the file, for error messages. columns: names for a comma-separated table without a
    header. comment: prefix of lines to ignore. tsv: the delimiter is a tab if the header has one.
    Raises InputError naming the line.
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
    if rows:  # the first row has all columns, even if its line is short
        rows[0] = {column: rows[0].get(column, "") for column in columns if column}
    return rows


def _without_title(lines: list[str]) -> list[str]:
    """Blanks the lines above the header that begin with "# ".

    A single such line is the header itself if the row below it has as many values.
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
    """Whether `head` is a header: the line below it holds values rather than column names."""
    delimiter = _delimiter([head], False)
    cells = [cell.strip().strip('"') for cell in line.split(delimiter)]
    alike = 0 < head.count(delimiter) == line.count(delimiter)
    return (
        alike
        and any(map(_FILE_OR_NUMBER.search, cells))
        and not any(map(_FILE_OR_NUMBER.search, head.split(delimiter)))
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
    if len(columns) > _MAX_COLUMNS:
        raise InputError(f"{name}: {len(columns)} columns; at most {_MAX_COLUMNS} are read")
    return columns


def _named(row, columns, name, number) -> dict:
    """A row's values by column. Raises InputError for more values than columns."""
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
    """Returns (line, values) of each row, by the rules that fit the whole file."""
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
    """Parses the file as CSV: (rows, None), or (None, error) if a quote is open or rows differ."""
    wrong = None
    for text, dialect in _dialects(lines, delimiter):
        reader = csv.reader(
            text, delimiter=delimiter, skipinitialspace=True, strict=True, **dialect
        )
        rows, start = [], 1
        try:
            for row in reader:
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
        # A dialect that parses to the end of the file gives the better message.
        wrong = _too_wide(name, number, width, columns)
    return None, wrong


def _dialects(lines, delimiter) -> Iterator[tuple[list[str], dict]]:
    """Yields (lines, csv settings) of each CSV dialect that the file may use."""
    text = [line + "\n" for line in lines]
    yield text, {}
    if any('\\"' in line for line in lines):
        yield text, {"doublequote": False, "escapechar": "\\"}
    blank = " " if delimiter == "\t" else " \t"
    if any(re.search(rf'"[{blank}]', line) for line in lines):
        # Blanks after a closing quote are not part of the value.
        closed = rf'("[^"]*(?:""[^"]*)*")(?:[{blank}]+(?=[{delimiter}\n]))?'
        trimmed = re.sub(closed, r"\1", "".join(text))
        yield [line + "\n" for line in trimmed.split("\n")[:-1]], {}


def _even(rows) -> bool:
    """Whether no row has more values than the first, ignoring empty values at its end."""
    rows = [row for _, row in rows if any(map(str.strip, row))]
    return all(
        len(row) <= len(rows[0]) or not any(map(str.strip, row[len(rows[0]) :])) for row in rows
    )


def _exact(rows) -> bool:
    """Whether all rows have the same number of values."""
    return len({len(row) for _, row in rows if any(map(str.strip, row))}) <= 1


def _spans(rows) -> bool:
    """Whether any value holds a line break."""
    return any("\n" in cell for _, row in rows for cell in row)


def _needed(rows, lines, delimiter) -> bool:
    """Whether the quotes are CSV quoting: only around values that need it, or whole columns.

    A value needs quoting if it holds a quote, a delimiter or a line break.
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
            is_quoted = cell.strip().startswith('"')
            if not is_quoted and '"' in cell:
                return False  # a CSV writer would have quoted it
            if value.strip():
                columns.setdefault(index, []).append(is_quoted)
            needless |= is_quoted and not any(mark in value for mark in special)
    if not needless:
        return True
    return all(all(flags[1:]) or not any(flags[1:]) for flags in columns.values())


def _split(line: str, delimiter: str) -> list[str] | None:
    """Splits a line into values with their quotes; None if a quote is open at its end."""
    if '"' not in line:
        return line.split(delimiter)
    values, start, inside = [], 0, False
    for position, character in enumerate(line):
        if character == '"':
            inside = not inside
        elif character == delimiter and not inside:
            values.append(line[start:position])
            start = position + 1
    return None if inside else [*values, line[start:]]


def _by_line(lines, delimiter) -> list | None:
    """Parses each line as a row: as CSV where it is well-formed, else with plain quotes.

    Returns None if rows differ in their number of values.
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
    """Chooses between the two parses where a quoted value would span lines.

    Columns that hold file names or numbers in all other rows tell rows from parts of a value.
    Raises InputError if they do not decide.
    """
    firsts = {n for n, _ in quoted}
    spans = {n for n, row in quoted if any("\n" in cell for cell in row)}
    sure = [row for n, row in by_line[1:] if n in firsts and n not in spans]
    inner = [(n, row) for n, row in by_line if n not in firsts]
    known = sure or [row for n, row in by_line[1:] if n in spans]
    keys = [
        i
        for i in range(len(by_line[0][1]))
        if known and all(i < len(row) and _FILE_OR_NUMBER.search(row[i].strip()) for row in known)
    ]
    alike = [any(_FILE_OR_NUMBER.search(row[i].strip()) for i in keys) for _, row in inner]
    if keys and all(alike):
        return by_line
    if keys and not any(alike):
        return quoted
    raise InputError(
        f"{name}: line {min(spans)} opens a quote, and it cannot be told whether its value goes on "
        'for several lines; write quotes within a value twice ("") or take them out'
    )
