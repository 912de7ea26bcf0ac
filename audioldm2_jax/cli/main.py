"""The command `audioldm2-jax`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings

import audioldm2_jax
from audioldm2_jax.cli import (
    convert,
    doctor,
    encode,
    export,
    generate,
    prepare,
    rehearse,
    soundscapes,
    train,
)
from audioldm2_jax.errors import InputError

COMMANDS = {
    "generate": generate,
    "convert": convert,
    "prepare": prepare,
    "encode": encode,
    "soundscapes": soundscapes,
    "train": train,
    "export": export,
    "rehearse": rehearse,
    "doctor": doctor,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a sub-command. Exit code 2 and one line on stderr for bad input."""
    parser = argparse.ArgumentParser(prog="audioldm2-jax", description="Text to audio in JAX.")
    version = f"audioldm2-jax {audioldm2_jax.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = module.__doc__.splitlines()[0]
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        module.add_arguments(sub)
    options, options.overrides = parser.parse_known_args(arguments)
    if options.overrides and not getattr(COMMANDS[options.command], "OVERRIDES", False):
        parser.error(f"unrecognized arguments: {' '.join(options.overrides)}")
    _quiet_libraries()
    try:
        return COMMANDS[options.command].run(options) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _quiet_libraries():
    """Warnings as one line each; transformers' notes about torch do not concern our users."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


if __name__ == "__main__":
    sys.exit(main())
