"""Configurations of runs: read from a file, overridden from the command line, checked.

A configuration is a Python file with `get_config(arg)`, which is run: it is code, not data.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries
from audioldm2_jax.training.entries import KINDS, suggestion

PREFIX = "--config."
LARGEST = 1 << 20  # bytes of a file
CONFIGS = Path(__file__).parent.parent / "configs"  # those that come with the package


def stage_config(stage: str, **settings: Any) -> ConfigDict:
    """Defaults of a stage's run; settings: the stage's own that differ from theirs.

    Raises ValueError for an unknown stage or setting.
    """
    from audioldm2_jax.training.stages import find_stage

    try:
        known = find_stage(stage).defaults
    except InputError as error:
        raise ValueError(str(error)) from None
    if unknown := set(settings) - set(known):
        raise ValueError(f"stage {stage} has no setting {min(unknown)!r}: {' '.join(known)}")
    return entries.defaults(stage, known | settings)


def read_config(file: str, overrides: list[str]) -> ConfigDict:
    """A locked ConfigDict. file: FILE.py[:ARG] or NAME[:ARG]; overrides: texts --config.NAME=VALUE.

    Raises InputError for a file that does not run, and for values that do not fit or have no
    effect.
    """
    from audioldm2_jax.training.idle import check_effects, idle, reset_idle
    from audioldm2_jax.training.settings import check_settings
    from audioldm2_jax.training.stages import find_stage

    def check(config) -> None:
        entries.check(config)
        info = find_stage(config.stage)
        check_settings(info.name, info.settings, config.settings)

    config = _run(file)
    try:
        check(config)
    except InputError as error:
        raise InputError(f"--config {file}: {error}") from None
    config.lock()
    before = set(idle(config))
    texts: dict[str, list[str]] = {}
    for text in overrides:
        name, value = _split(text)
        texts.setdefault(name, []).append(value)
    for name, values in texts.items():
        _override(config, name, values)
    check(config)
    check_effects(config, list(texts))
    reset_idle(config, before, texts)
    return config


def _run(file: str) -> Any:
    """The result of the file's get_config."""
    name, _, argument = file.partition(":")
    path = _file(name)
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--config {path}: a Python file, NAME.py, is expected")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not callable(getattr(module, "get_config", None)):
            raise InputError(f"--config {path}: it defines no function get_config(arg)")
        return module.get_config(argument)
    except InputError:
        raise
    # A configuration is code: whatever it raises is bad input.
    except (Exception, SystemExit) as error:
        raise InputError(f"--config {file}: {_line(error, path)}") from None


def _file(name: str) -> Path:
    """The file that the option names: a path, or the name of one that comes with the package.

    `vae`, `vae.py` and `configs/vae.py` name the same one; a file of that path comes first.
    Raises InputError.
    """
    path = files.user_path(name)
    short = name.removeprefix("configs/").removesuffix(".py")
    shipped = CONFIGS / f"{short}.py"
    try:
        if not path.is_file() and re.fullmatch(r"\w+(/\w+)*", short) and shipped.is_file():
            path = shipped
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        size = None
    if size is None:
        raise InputError(f"--config {excerpt(str(path), 300)}: no such file (see train --help)")
    if size > LARGEST:
        raise InputError(f"--config {path}: {size} bytes are no configuration")
    return path


def _line(error: BaseException, path: Path) -> str:
    """An exception as one line, with the file's line where it was raised."""
    text = excerpt(" ".join(str(error).split()), 300)
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    if type(error) is ValueError:
        return text
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}{': ' if text else ''}{text}"


def _split(text: str) -> tuple[str, str]:
    """(name, value) of --config.NAME=VALUE. Raises InputError."""
    name, equals, value = text.removeprefix(PREFIX).partition("=")
    if not text.startswith(PREFIX) or not equals:
        raise InputError(f"{excerpt(text)}: values are given as --config.NAME=VALUE")
    return name, value


def excerpt(text: str, limit: int = 80) -> str:
    """A user's text, cut to fit a message of one line."""
    line = text[:limit].replace("\n", "\\n")
    return line + (" ..." if len(text) > limit else "")


def _override(config: ConfigDict, name: str, values: list[str]) -> None:
    """Sets one value, of the type that it has; several values are a list's. Raises InputError."""
    known = entries.flat(config)
    if name not in known:
        if any(other.startswith(f"{name}.") for other in known):
            inner = ", ".join(x for x in known if x.startswith(f"{name}."))
            raise InputError(
                f"{PREFIX}{excerpt(name)}: it is a group of values; set one of {inner}"
            )
        raise InputError(f"{PREFIX}{excerpt(name)}: no such value{_near(name, known)}")
    *groups, last = name.split(".")
    node = config
    for group in groups:
        node = node[group]
    old = known[name]
    if name == "stage":
        raise InputError(f"{PREFIX}stage: a configuration is of one stage; use another file")
    if isinstance(old, tuple):
        parsed = [_several(name, old, value, repeated=len(values) > 1) for value in values]
        node[last] = tuple(x for several in parsed for x in several)
    else:
        node[last] = _like(name, old, values[-1])


def _near(name: str, known: dict[str, Any]) -> str:
    """A suggestion: of the same group its last name alone; else the names that there are."""
    group, dot, last = name.rpartition(".")
    inner = [x.removeprefix(group + dot) for x in known if x.rpartition(".")[0] == group]
    return suggestion(last, inner) or suggestion(name, known) or f"; there are {', '.join(known)}"


def _several(name: str, old: tuple, value: str, *, repeated: bool) -> tuple:
    """Several values: a list as JSON or Python has it, @FILE with one on each line, else separated
    by commas. repeated: the option is given several times, and each text may hold commas.
    """
    numbers = bool(old) and all(isinstance(x, int) for x in old)
    if value.startswith("@") and not numbers:
        lines = re.split(r"\r?\n", files.read_text(files.user_path(value[1:])))
        return tuple(line.strip() for line in lines if line.strip())
    if numbers or _is_list(value):
        return _listed(name, value, int if numbers else str)
    if repeated:
        return (value.strip(),) if value.strip() else ()
    return tuple(text.strip() for text in value.split(",") if text.strip())


def _is_list(value: str) -> bool:
    """Whether a list is meant: patterns and prompts may begin with a bracket too."""
    if re.match(r"\s*[\[(]\s*[\"']", value):
        return True
    return value.lstrip()[:1] in ("[", "(") and isinstance(_parsed(value), (list, tuple))


def _parsed(value: str) -> Any:
    """A value as JSON or Python has it; None for anything else."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _listed(name: str, value: str, kind: type) -> tuple:
    parsed = _parsed(value)
    items = tuple(parsed) if isinstance(parsed, (list, tuple)) else (parsed,)
    if not items or not all(type(x) is kind for x in items):
        what = "integers, separated by commas," if kind is int else 'texts, as ["a, b", "c"],'
        raise InputError(f"{PREFIX}{name}={excerpt(value)}: {what} are expected")
    return items


def _like(name: str, old: Any, value: str) -> Any:
    """A text as the old value's type. Raises InputError."""
    kind = type(old)
    if kind is str:
        return value
    if kind is bool and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind in (int, float):
        try:
            return _number(kind, value)
        except (ValueError, OverflowError):
            pass
    expected = f"a value of another type; {KINDS[kind]} is expected"
    raise InputError(f"{PREFIX}{name}={excerpt(value)}: {expected}")


def _number(kind: type, value: str) -> float:
    """Integers may be written 1e6 or 10_000. Raises ValueError or OverflowError."""
    try:
        return kind(value)
    except ValueError:
        number = float(value)
        if kind(number) != number:
            raise
        return kind(number)
