"""A file imports only from its own or lower floors (docs: README, "How it is laid out")."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "audioldm2_jax"
FLOORS = [
    {
        "backend",
        "dtypes",
        "errors",
        "extras",
        "files",
        "loudness",
        "presets",
        "tree",
        "audio",
        "features",
        "phonemes",
        "pictures",
        "sharding",
        "distributed",
    },
    {"models", "diffusion", "losses"},
    {"checkpoints", "encoders"},
    {"data"},
    {"training", "pipelines"},
    {"evaluation"},
    {"cli", "serving", "__main__"},
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}


def imported(path):
    """Top-level names inside the package that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (n.split(".")[1] for n in names if n.startswith("audioldm2_jax."))


def test_imports_go_down():
    files = [f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py"]
    assert len(files) > 20
    for file in files:
        here = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert here in FLOOR, f"{file}: give {here} a floor"
        for name in imported(file):
            # `Pipeline` and `__version__` are the package's own names.
            if name not in ("__version__", "Pipeline"):
                assert FLOOR[name] <= FLOOR[here], f"{file} imports {name} from a higher floor"


def test_the_package_runs_without_torch():
    """torch and diffusers are for the tests; no file of the package imports them."""
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        for line in text.splitlines():
            assert not line.strip().startswith(
                ("import torch", "from torch", "import diffusers", "from diffusers")
            ), file
