"""Tables of captions: CSV, TSV, JSON and JSON lines, as rows of named values."""

from __future__ import annotations

import csv
import io
import json

from audioldm2_jax.errors import InputError

csv.field_size_limit(1 << 30)


def rows(
    data: bytes,
    name: str,
    columns: list[str] | None = None,
    *,
    encoding: str = "utf-8-sig",
    comment: str = "",
) -> list[dict]:
    """A table's rows. columns: names, for a comma-separated table without a header.

    By the suffix of `name`: .csv .tsv .json .jsonl; values of CSV are text. JSON is a list of
    objects, an object {"data": [...]} as the authors' training files are, or objects by file name.
    Raises InputError naming the file and the line.
    """
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}: line {line} is not UTF-8; save the file as UTF-8") from None
    suffix = name.lower().rpartition(".")[2]
    if suffix == "json":
        return _json(text, name)
    if suffix in ("jsonl", "ndjson"):
        lines = enumerate(text.split("\n"), 1)
        return [_object(_parse(line, name, i), name, i) for i, line in lines if line.strip()]
    return _csv(text, name, columns, comment)


def _csv(text, name, columns, comment):
    """comment: how lines to pass over begin, if there are any."""
    head = text.split("\n", 1)[0]
    delimiter = "," if columns else max(",;\t|", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    found = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row) or (comment and row[0].startswith(comment)):
                continue
            if columns is None:
                columns = [cell.strip() for cell in row]
                continue
            if len(row) > len(columns):
                raise InputError(
                    f"{name}: line {reader.line_num} has {len(row)} values for {len(columns)} "
                    "columns; put values that contain the delimiter in double quotes"
                )
            found.append(dict(zip(columns, row)) | dict.fromkeys(columns[len(row) :], ""))
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num}: {error}") from None
    return found


def _parse(text, name, line=None):
    try:
        return json.loads(text)
    except ValueError as error:
        place = f"line {line}: " if line else ""
        raise InputError(f"{name}: {place}no JSON ({error})") from None


def _object(value, name, line):
    if not isinstance(value, dict):
        raise InputError(f"{name}: entry {line} is no object with named values")
    return value


def _json(text, name):
    content = _parse(text, name)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if isinstance(content, dict) and content and all(isinstance(v, dict) for v in content.values()):
        content = [{"file_name": key, **value} for key, value in content.items()]
    if not isinstance(content, list):
        raise InputError(f'{name}: a list of objects is expected, or {{"data": [...]}}')
    return [_object(value, name, i) for i, value in enumerate(content, 1)]
