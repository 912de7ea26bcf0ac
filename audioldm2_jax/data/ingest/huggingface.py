"""Reads exports of Hugging Face's `datasets`: parquet files, and folders of `save_to_disk`."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.columns import AUTO, Columns, cell_texts
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_lookup import find_file
from audioldm2_jax.data.ingest.file_ref import MAX_BYTES, Unreadable
from audioldm2_jax.data.ingest.names import tfds_name
from audioldm2_jax.data.ingest.report import error_reason
from audioldm2_jax.errors import InputError

_PLAUSIBLE_ROWS = 10000  # of any file, however small


@dataclass(frozen=True, slots=True)
class TableCell:
    """Audio inside a table: the bytes in one row of a column of structs {bytes, path}.

    path: the table's file. group, row: the row group, and the row in it. name: the audio's name.
    """

    path: str
    column: str
    group: int
    row: int
    name: str

    def read(self) -> bytes:
        """Returns all bytes. Raises Unreadable."""
        try:
            data = _column(self.path, self.group, self.column)[self.row].as_py()["bytes"]
        except Exception as error:  # pyarrow raises many kinds for damaged files
            raise Unreadable(f"cannot be read ({type(error).__name__})") from None
        if len(data or b"") > MAX_BYTES:
            raise Unreadable(f"larger than {MAX_BYTES / 1e6:.0f} MB")
        return data or b""


def is_export(index: FileIndex) -> bool:
    """Whether a folder is an export of `datasets`. Raises InputError for a damaged state.json."""
    return bool(_files(index))


def read_export(index: FileIndex, columns: Columns = AUTO) -> dict[str, list[ClipRecord]]:
    """Returns the clips of each split. Raises InputError for damaged files and for no audio."""
    splits: dict[str, list[ClipRecord]] = {}
    for split, path in _files(index):
        for row_split, clip in _clips(index, path, columns):
            splits.setdefault(tfds_name(row_split or split), []).append(clip)
    return splits


def _files(index: FileIndex) -> list[tuple[str, Path]]:
    """Returns (split, file) for each table of an export, sorted, without excluded files.

    Raises InputError for a damaged state.json.
    """
    on_disk = {n: Path(f.path) for n, f in index.files.items() if not f.member and f.offset < 0}
    arrows = sorted(n for n in on_disk if n.endswith(".arrow"))
    if "dataset_dict.json" in on_disk:
        return [(n.split("/")[0], on_disk[n]) for n in arrows if n.count("/") == 1]
    if "state.json" in on_disk:
        split = files.read_json(on_disk["state.json"]).get("_split")
        split = split if isinstance(split, str) and split else "train"
        return [(split, on_disk[n]) for n in arrows if "/" not in n]
    tables = sorted((p for n, p in on_disk.items() if n.endswith(".parquet")))
    return [(_split_of(path, index.folder), path) for path in tables]


def _split_of(path: Path, folder: Path) -> str:
    """The split by the hub's file names: train-00000-of-00002.parquet, or train/0000.parquet."""
    if match := re.match(r"(\w+)-\d+-of-\d+", path.name):
        return match[1]
    parent = path.parent
    return parent.name if parent != folder and parent.name != "data" else "train"


def _clips(index, path: Path, columns: Columns) -> Iterator[tuple[str, ClipRecord]]:
    """Yields (split or "", clip) for each row."""
    try:
        schema, groups = _open(str(path))
    except Exception as error:
        raise _damaged(path, error) from None
    audio = columns.file or _audio_column(schema, path)
    resolved = dataclasses.replace(columns, file=audio).resolve(schema.names, str(path))
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
            source, reason = None, "names no file"
            if values.pop(" holds bytes", False):
                source = TableCell(str(path), audio, group, row, Path(file).name)
            elif file:
                match = find_file(index, file)
                source, reason = match.file, match.reason
            position += 1
            split = next(iter(cell_texts(values.get(columns.split))), "") if columns.split else ""
            yield split, ClipRecord(clip_id, source, reason=reason, **resolved.fields(values))


def _damaged(path, error: Exception) -> InputError:
    return InputError(f"{path}: damaged table ({error_reason(error)})")


def _audio_column(schema, path) -> str:
    """The audio column: a struct with bytes, else a column that names files."""
    for field in schema:
        if _is_struct(schema, field.name):
            return field.name
    return AUTO.resolve(schema.names, str(path)).file


def _is_struct(schema, name) -> bool:
    import pyarrow

    kind = schema.field(name).type if name in schema.names else None
    return kind is not None and pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def _class_names(schema) -> dict[str, list[str]]:
    """The class names of each ClassLabel column."""
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
    """Yields rows without the audio's bytes: the audio column holds the path instead."""
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
    """Returns (schema, number of row groups)."""
    if path.endswith(".arrow"):
        return _arrow(path).schema, 1
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    # A few bytes can encode any number of equal rows; rows that name files take some bytes each.
    if file.metadata.num_rows > max(_PLAUSIBLE_ROWS, Path(path).stat().st_size):
        raise ValueError(f"it states {file.metadata.num_rows} rows, more than it has bytes")
    return file.schema_arrow, file.num_row_groups


@functools.lru_cache(8)
def _arrow(path: str):
    """The whole table, memory-mapped."""
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
