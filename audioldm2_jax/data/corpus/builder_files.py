"""Finds the builders of published corpora: one folder of `data/` for each."""

from __future__ import annotations

from pathlib import Path

_SUFFIX = "_dataset_builder.py"


def builder_roots() -> list[Path]:
    """The folders that hold builders: ./data, and the package's `corpora`."""
    return [Path("data"), Path(__file__).parents[2] / "corpora"]


def list_builders() -> dict[str, Path]:
    """Returns the builders' files by name, sorted. Those of ./data have priority."""
    builders: dict[str, Path] = {}
    for root in reversed(builder_roots()):
        for path in root.glob(f"*/*{_SUFFIX}"):
            if path.name == path.parent.name + _SUFFIX:
                builders[path.parent.name] = path
    return dict(sorted(builders.items()))


def find_builder(name: str) -> Path | None:
    """Returns the file of a builder, given its folder or its name; None if there is none."""
    folder = Path(name)
    path = folder / f"{folder.name}{_SUFFIX}"
    return path if path.is_file() else list_builders().get(name.removeprefix("data/"))
