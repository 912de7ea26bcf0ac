"""A file imports from lower floors, or from its own room without a circle (README, "Layout")."""

import ast
import graphlib
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "audioldm2_jax"
FLOORS = [
    {
        "backend",
        "caching",
        "dtypes",
        "errors",
        "extras",
        "files",
        "log",
        "loudness",
        "presets",
        "tree",
        "version",
        "audio",
        "features",
        "phonemes",
        "pictures",
        "sharding",
        "distributed",
    },
    {"models", "diffusion", "decoding", "losses"},
    {"checkpoints", "encoders"},
    {"data"},
    {"training", "pipelines"},
    {"evaluation", "rehearsal"},
    {"serving"},
    {"cli", "__main__"},
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}


def module_name(path):
    """`package.module` of a file; a folder's `__init__` is the folder itself."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def run_time_nodes(node):
    """All nodes of a syntax tree but those of `if TYPE_CHECKING:` blocks."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from run_time_nodes(child)


def imported(path):
    """Modules of the package that a file imports, at its top or in functions.

    `from folder import name` is the file `folder/name.py` where there is one, and not the folder's
    `__init__`, so that an `__init__` which collects its files makes no circle.
    """
    for node in run_time_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names = [f"{node.module}.{alias.name}", node.module]
                yield from [name for name in names if name in MODULES][:1]


GRAPH = {name: set(imported(path)) for name, path in MODULES.items()}


def test_imports_go_down():
    assert len(GRAPH) > 100
    for name, imports in GRAPH.items():
        if name == "audioldm2_jax":
            continue  # It offers `Pipeline`.
        here = name.split(".")[1]
        assert here in FLOOR, f"{name}: give {here} a floor"
        for other in imports - {"audioldm2_jax"}:
            floor = FLOOR[other.split(".")[1]]
            assert floor <= FLOOR[here], f"{name} imports {other} from a higher floor"


def first_circle(graph):
    """The names of one circle of a graph {name: names that it imports}, as text; None if none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def test_no_circle_of_files():
    assert first_circle(GRAPH) is None


def test_no_circle_of_rooms():
    """Rooms of one floor may import each other, but in one direction."""
    rooms = {name.split(".")[1]: set() for name in GRAPH if name != "audioldm2_jax"}
    for name, imports in GRAPH.items():
        for other in imports:
            if "audioldm2_jax" not in (name, other):
                rooms[name.split(".")[1]].add(other.split(".")[1])
    assert first_circle({room: others - {room} for room, others in rooms.items()}) is None


def test_circles_are_found():
    assert first_circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert first_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in ("b -> c -> b", "c -> b -> c")


def test_the_package_runs_without_torch():
    """torch and diffusers are for the tests; no file of the package imports them."""
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        for line in text.splitlines():
            assert not line.strip().startswith(
                ("import torch", "from torch", "import diffusers", "from diffusers")
            ), file
