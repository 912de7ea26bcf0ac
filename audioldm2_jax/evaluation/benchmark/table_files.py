"""Finds and loads tables: Python files that define TABLE, which are run as configurations are."""

from __future__ import annotations

import difflib
import fnmatch
import importlib.util
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.tables import Row, Table

FOLDER = Path(__file__).parents[2] / "configs" / "tables"  # those that come with the package
_LARGEST = 1 << 20  # bytes of a file


def list_tables() -> dict[str, Path]:
    """{name: file} of the tables that come with the package, sorted."""
    return {p.stem: p for p in sorted(FOLDER.glob("*.py")) if p.stem != "__init__"}


def load_table(name: str) -> Table:
    """A table of the package by its name, or of a file NAME.py.

    Raises InputError for another name, with the nearest one, and for a file that holds no table.
    """
    known, path = list_tables(), files.user_path(name)
    short = name.removeprefix("configs/tables/").removesuffix(".py")
    if not path.is_file() and short in known:
        path = known[short]
    if not path.is_file():
        near = difflib.get_close_matches(short, known, 1)
        advice = f"did you mean {near[0]}?" if near else f"there are {' '.join(known)}"
        raise InputError(f"no table {name!r}; {advice} (or name a file TABLE.py)")
    if path.suffix != ".py" or path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: a Python file that defines TABLE is expected")
    return _run(path)


def _run(path: Path) -> Table:
    spec = importlib.util.spec_from_file_location(f"table_{path.stem}", path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    # A table is code: whatever it raises is bad input.
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    table = getattr(module, "TABLE", None)
    if not isinstance(table, Table):
        raise InputError(f"{path}: defines no TABLE of audioldm2_jax.evaluation.tables.Table")
    return table


def select_rows(table: Table, names: list[str] | None) -> tuple[Row, ...]:
    """The rows of these names or patterns (`esc50-*`), all for None, in the table's order.

    Raises InputError for a name that fits no row, with the nearest one.
    """
    if not names:
        return table.rows
    known, chosen = [row.name for row in table.rows], set()
    for name in names:
        if not (fit := fnmatch.filter(known, name)):
            near = difflib.get_close_matches(name, known, 1, 0.5)
            advice = f"did you mean {near[0]}?" if near else f"there are {' '.join(known)}"
            raise InputError(f"table {table.name} has no row {name!r}; {advice}")
        chosen |= {*fit}
    return tuple(row for row in table.rows if row.name in chosen)
