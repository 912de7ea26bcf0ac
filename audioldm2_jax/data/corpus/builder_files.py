"""The builders of published corpora: a folder of `data/` each, found by its name."""

from __future__ import annotations

from pathlib import Path

_SUFFIX = "_dataset_builder.py"


def builder_roots() -> list[Path]:
    """Where builders are looked for: ./data, and `corpora`, the package's name for it."""
    return [Path("data"), Path(__file__).parents[2] / "corpora"]


def list_builders() -> dict[str, Path]:
    """The builders' files by name, sorted; those of ./data come before the package's."""
    known: dict[str, Path] = {}
    for root in reversed(builder_roots()):
        for path in root.glob(f"*/*{_SUFFIX}"):
            if path.name == path.parent.name + _SUFFIX:
                known[path.parent.name] = path
    return dict(sorted(known.items()))


def find_builder(name: str) -> Path | None:
    """The file of a builder: by its folder, or by its name; None if there is none."""
    folder = Path(name)
    path = folder / f"{folder.name}{_SUFFIX}"
    return path if path.is_file() else list_builders().get(name.removeprefix("data/"))
