"""Exports of Hugging Face's `datasets`: parquet files, and folders of `save_to_disk`."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest.clip_record import Entry
from audioldm2_jax.data.ingest.columns import RECOGNISED, Columns, texts
from audioldm2_jax.data.ingest.file_index import Shelf
from audioldm2_jax.data.ingest.file_lookup import find
from audioldm2_jax.data.ingest.file_ref import LARGEST, Unreadable
from audioldm2_jax.data.ingest.report import reason
from audioldm2_jax.errors import InputError

_FEW = 10000  # rows that need no second look


@dataclass(frozen=True, slots=True)
class Cell:
    """Audio inside a table: the bytes in one row of a column of structs {bytes, path}."""

    path: str
    column: str
    group: int
    row: int
    name: str

    def read(self) -> bytes:
        """All bytes. Raises Unreadable."""
        try:
            data = _column(self.path, self.group, self.column)[self.row].as_py()["bytes"]
        except Exception as error:  # pyarrow raises many kinds for damaged files
            raise Unreadable(f"cannot be read ({type(error).__name__})") from None
        if len(data or b"") > LARGEST:
            raise Unreadable(f"larger than {LARGEST / 1e6:.0f} MB")
        return data or b""


def is_export(shelf: Shelf) -> bool:
    """Whether a folder is such an export."""
    return bool(_files(shelf))


def read(shelf: Shelf, columns: Columns = RECOGNISED) -> dict[str, list[Entry]]:
    """Entries by split. Raises InputError for files that are damaged or hold no audio."""
    found: dict[str, list[Entry]] = {}
    for split, path in _files(shelf):
        for row_split, entry in _entries(shelf, path, columns):
            found.setdefault(reader.dataset_name(row_split or split), []).append(entry)
    return found


def _files(shelf: Shelf) -> list[tuple[str, Path]]:
    """(split, file) of all tables of an export, sorted; what the shelf left out is not among them.

    Raises InputError for a damaged state.json.
    """
    plain = {n: Path(p.path) for n, p in shelf.files.items() if not p.member and p.offset < 0}
    arrows = sorted(n for n in plain if n.endswith(".arrow"))
    if "dataset_dict.json" in plain:
        return [(n.split("/")[0], plain[n]) for n in arrows if n.count("/") == 1]
    if "state.json" in plain:
        split = files.read_json(plain["state.json"]).get("_split")
        split = split if isinstance(split, str) and split else "train"
        return [(split, plain[n]) for n in arrows if "/" not in n]
    tables = sorted((p for n, p in plain.items() if n.endswith(".parquet")))
    return [(_split_of(path, shelf.folder), path) for path in tables]


def _split_of(path: Path, folder: Path) -> str:
    """The hub's names: train-00000-of-00002.parquet, or train/0000.parquet."""
    if match := re.match(r"(\w+)-\d+-of-\d+", path.name):
        return match[1]
    parent = path.parent
    return parent.name if parent != folder and parent.name != "data" else "train"


def _entries(shelf, path: Path, columns: Columns) -> Iterator[tuple[str, Entry]]:
    """(split or "", entry) of each row."""
    try:
        schema, groups = _open(str(path))
    except Exception as error:
        raise _damaged(path, error) from None
    audio = columns.file or _audio_column(schema, path)
    known = dataclasses.replace(columns, file=audio).recognised(schema.names, str(path))
    inside = _is_struct(schema, audio)
    names, position = _class_names(schema), 0
    for group in range(groups):
        try:
            rows = list(_rows(str(path), group, audio, inside))
        except Exception as error:  # pyarrow raises many kinds for damaged files
            raise _damaged(path, error) from None
        for row, values in enumerate(rows):
            for key, classes in names.items():
                if isinstance(values.get(key), int) and 0 <= values[key] < len(classes):
                    values[key] = classes[values[key]]
            file = values.pop(audio)
            file = file if isinstance(file, str) else ""
            clip_id = f"{path.stem}/{position:07d}" + (f"/{Path(file).name}" if file else "")
            place, reason = None, "names no file"
            if values.pop(" holds bytes", False):
                place = Cell(str(path), audio, group, row, Path(file).name)
            elif file:
                match = find(shelf, file)
                place, reason = match.place, match.reason
            position += 1
            split = next(iter(texts(values.get(columns.split))), "") if columns.split else ""
            yield split, Entry(clip_id, place, reason=reason, **known.facts(values))


def _damaged(path, error: Exception) -> InputError:
    return InputError(f"{path}: damaged table ({reason(error)})")


def _audio_column(schema, path) -> str:
    """The column with sound: a struct with bytes, else one that names files."""
    for field in schema:
        if _is_struct(schema, field.name):
            return field.name
    return RECOGNISED.recognised(schema.names, str(path)).file


def _is_struct(schema, name) -> bool:
    import pyarrow

    kind = schema.field(name).type if name in schema.names else None
    return kind is not None and pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def _class_names(schema) -> dict[str, list[str]]:
    """Names of the numbers in columns of classes."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    names = {}
    for column, kind in info.items() if isinstance(info, dict) else ():
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel":
            classes = kind.get("names")
            if isinstance(classes, list) and all(isinstance(n, str) for n in classes):
                names[column] = classes
    return names


def _rows(path: str, group: int, audio: str, inside: bool) -> Iterator[dict]:
    """Rows without the audio's bytes: its column holds the path."""
    from pyarrow import compute

    table = _group(path, group)
    if inside:
        column = table.column(audio)
        holds = compute.is_valid(compute.struct_field(column, "bytes"))
        paths = None
        if column.type.get_field_index("path") >= 0:
            paths = compute.struct_field(column, "path").to_pylist()
        table = table.drop_columns([audio])
    batches = table.to_batches(max_chunksize=1000)
    for i, values in enumerate(row for batch in batches for row in batch.to_pylist()):
        if inside:
            values[audio] = paths[i] if paths else ""
            values[" holds bytes"] = holds[i].as_py()
        yield values


@functools.lru_cache(8)
def _open(path: str):
    """(schema, number of row groups)."""
    if path.endswith(".arrow"):
        return _arrow(path).schema, 1
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    # A few bytes may state any number of equal rows; rows that name files take some bytes each.
    if file.metadata.num_rows > max(_FEW, Path(path).stat().st_size):
        raise ValueError(f"it states {file.metadata.num_rows} rows, more than it has bytes")
    return file.schema_arrow, file.num_row_groups


@functools.lru_cache(8)
def _arrow(path: str):
    """The whole table, mapped rather than read."""
    import pyarrow

    source = pyarrow.memory_map(path)
    try:
        return pyarrow.ipc.open_stream(source).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_file(pyarrow.memory_map(path)).read_all()


@functools.lru_cache(1)
def _group(path: str, group: int):
    if path.endswith(".arrow"):
        return _arrow(path)
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path).read_row_group(group)


@functools.lru_cache(2)
def _column(path: str, group: int, column: str):
    return _group(path, group).column(column)
