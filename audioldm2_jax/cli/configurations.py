"""The training configurations that `--help` lists: files of configs/, parsed but not run."""

from __future__ import annotations

import ast
from pathlib import Path

from audioldm2_jax.cli.help import choices

_FOLDER = Path(__file__).parent.parent / "configs"
_HOW = """Values: --config.NAME=VALUE sets one of the configuration's, with its type, such as
--config.steps=2000, --config.optim.learning_rate=3e-5 or --config.data.sources=A,B;
--config.NAME with a misspelt name is refused with a suggestion. What there is: configs/common.py
and the file itself; what it means: docs/training.md."""


def notes() -> str:
    """How values are set, and the configurations with their variants."""
    lines = [_HOW, "", "Configurations that come with the package:"]
    for file in sorted(_FOLDER.rglob("*.py")):
        if configuration := read(file):
            summary, kinds = configuration
            name = file.relative_to(_FOLDER).with_suffix("").as_posix()
            choice = f":{choices(kinds)}" if kinds else ""
            lines.append(f"  {name}{choice}\n      {summary}")
    return "\n".join(lines)


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
