"""The configurations of training that `--help` lists: files of configs/, read but not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from audioldm2_jax.cli.help import choices

_HOW = """Values: --config.NAME=VALUE sets one of the configuration's, with its type, such as
--config.steps=2000, --config.optim.learning_rate=3e-5 or --config.data.sources=A,B;
--config.NAME with a misspelt name is refused with a suggestion. What there is: configs/common.py
and the file itself; what it means: docs/training.md."""


def notes() -> str:
    """How values are set, and the files of configs/ with what may stand behind their colon."""
    lines = [_HOW]
    for folder in _folders():
        lines += ["", f"Configurations ({folder}):"]
        for file in sorted(folder.rglob("*.py")):
            if configuration := read(file):
                summary, kinds = configuration
                name = Path("configs") / file.relative_to(folder)
                choice = f":{choices(kinds)}" if kinds else ""
                lines.append(f"  {name}{choice}\n      {summary}")
        break
    return "\n".join(lines)


def _folders() -> Iterator[Path]:
    """configs/ here, or beside the package."""
    for folder in (Path("configs"), Path(__file__).parents[2] / "configs"):
        if (folder / "common.py").is_file():
            yield folder


def read(file: Path) -> tuple[str, tuple[str, ...]] | None:
    """The first line of a configuration's docstring and its variants; None for another file."""
    try:
        module = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    functions = [
        n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "get_config"
    ]
    if not functions:
        return None
    summary = (ast.get_docstring(module) or "").splitlines()
    return summary[0] if summary else "", _variants(functions[0])


def _variants(function: ast.FunctionDef) -> tuple[str, ...]:
    """The tuple that `variant(arg, ...)` is called with, written there or named before."""
    named = {
        node.targets[0].id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "variant":
            value = node.args[1]
            value = named.get(value.id) if isinstance(value, ast.Name) else value
            try:
                return tuple(ast.literal_eval(value))
            except (ValueError, TypeError):
                return ()
    return ()
