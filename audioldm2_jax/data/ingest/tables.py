"""Reads tables of captions (CSV, TSV, JSON, JSON lines) as rows of named values."""

from __future__ import annotations

import json
from collections import Counter

from audioldm2_jax.data.ingest import delimited
from audioldm2_jax.errors import InputError


def read_table(
    data: bytes,
    name: str,
    columns: list[str] | None = None,
    *,
    encoding: str = "utf-8-sig",
    comment: str = "",
) -> list[dict]:
    """Returns a table's rows as dicts.

    name: the file's name; its suffix (.csv .tsv .json .jsonl .ndjson) decides the format. columns:
    names for a comma-separated table without a header. comment: prefix of CSV lines to ignore.
    CSV values are text. JSON is a list of objects, an object {"data": [...]} like the authors'
    training files, or objects by file name. Raises InputError naming the file and the line.
    """
    text = decode_text(data, name, encoding)
    suffix = name.lower().rpartition(".")[2]
    if suffix == "json":
        return _json(text, name)
    if suffix in ("jsonl", "ndjson"):
        lines = enumerate(text.split("\n"), 1)
        return [_object(_parse(line, name, i), name, i) for i, line in lines if line.strip()]
    return delimited.read_delimited(text, name, columns, comment=comment, tsv=suffix == "tsv")


def decode_text(data: bytes, name: str, encoding: str = "utf-8-sig") -> str:
    """Decodes a table. Raises InputError for UTF-16, or naming the line with the wrong encoding."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{name}: it is UTF-16; save the file as UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}: line {line} is not UTF-8; save the file as UTF-8") from None


def _parse(text, name, line=None):
    position = f"line {line}: " if line else ""

    def unique(pairs):
        values = dict(pairs)
        if len(values) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise InputError(f"{name}: {position}{key!r} stands there twice; leave one of them out")
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: {position}no JSON ({error})") from None


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
