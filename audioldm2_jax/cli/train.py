"""Train a stage of AudioLDM 2 or AudioLDM: one device, several, or several hosts.

A run is a file of configs/ with an argument; any of its values can be overridden behind it:
--config=configs/audioldm2/joint.py:full --config.optim.learning_rate=3e-5. It goes on from the last
state in --workdir.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

from audioldm2_jax.cli import configurations
from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.help import Example
from audioldm2_jax.errors import InputError

# Arguments that argparse does not know are values of the configuration.
OVERRIDES = True
EXAMPLES = (
    Example(
        "audioldm2-jax train --config=configs/vae.py:tiny --workdir=runs/try "
        "--config.data.sources=corpora/mine",
        "the VAE at a size that takes a step in a moment, to try a corpus out",
    ),
    Example(
        "audioldm2-jax train --config=configs/audioldm.py:m --workdir=runs/mine "
        "--config.start=cvssp/audioldm-m-full --config.data.sources=corpora/mine "
        "--config.settings.audio=0 --config.lora=16 --config.batch=8 --config.steps=2000",
        "low-rank fine-tuning of a published checkpoint on a corpus of one's own",
    ),
)
notes = configurations.notes


def add_arguments(parser) -> None:
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:ARG]", help="configuration of the run")
    add("--workdir", required=True, metavar="DIR", help="states, metrics and TensorBoard's files")
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    config = read_config(options.config, options.overrides)
    from audioldm2_jax import distributed

    distributed.initialize()
    use_device(options.device)
    from audioldm2_jax.training.loop import train

    found = train(config, options.workdir, quiet=options.quiet)
    if distributed.is_main():
        for name, value in found.items():
            print(f"{name} {value:.6g}")
    return 0


def read_config(file: str, overrides: list[str]):
    """A locked ConfigDict. Raises InputError for a file or a value that is not there."""
    name, _, argument = file.partition(":")
    path = Path(name)
    if not path.is_file():
        raise InputError(f"--config {path}: no such file")
    # Configurations import each other as `configs.common`, from wherever they lie.
    root = next((p for p in path.resolve().parents if p.name == "configs"), path.resolve().parent)
    sys.path.insert(0, str(root.parent))
    try:
        spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config(argument)
    except ValueError as error:
        raise InputError(f"--config {file}: {error}") from None
    finally:
        sys.path.remove(str(root.parent))
    config.lock()
    for text in overrides:
        _override(config, text)
    return config


def _override(config, text: str) -> None:
    """Sets one value, of the type that it has."""
    name, given, value = text.removeprefix("--config.").partition("=")
    if not text.startswith("--config.") or not given:
        raise InputError(f"{text}: values are given as --config.NAME=VALUE")
    *parents, last = name.split(".")
    try:
        for parent in parents:
            config = config[parent]
        config[last] = _like(config[last], value)
    except KeyError as error:
        line = " ".join(str(error.args[0]).split())
        raise InputError(f"--config.{name}: no such value ({line})") from None
    except (ValueError, SyntaxError, TypeError, AttributeError):
        raise InputError(f"--config.{name}={value}: a value of another type is expected") from None


def _several(old: tuple, value: str) -> tuple:
    """Values separated by commas; texts, of which the old ones tell or none, need no quotes."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        if any(not isinstance(x, str) for x in old):
            raise
        found = tuple(text.strip() for text in value.split(",") if text.strip())
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _like(old, value: str):
    """A text as the old value's type."""
    if isinstance(old, bool):
        if value.lower() not in ("true", "false"):
            raise ValueError(value)
        return value.lower() == "true"
    if isinstance(old, str):
        return value
    if isinstance(old, tuple):
        return _several(old, value)
    found = ast.literal_eval(value)
    if isinstance(old, (int, float)) and type(old)(found) == found:
        return type(old)(found)
    raise ValueError(value)
