"""The command `audioldm2-jax`."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import importlib
import keyword
import os
import sys
import threading
import warnings

from audioldm2_jax import extras
from audioldm2_jax.cli.help import CommandHelp, Parser, epilog, overview
from audioldm2_jax.errors import InputError, NumericalError, one_line
from audioldm2_jax.version import __version__

# Each is a module of this package: its docstring (the first line is the summary), EXAMPLES,
# add_arguments and run; where needed OVERRIDES (what argparse does not know is for the command),
# EXTRA (the extra whose packages it needs), notes() (more help) and advice(options) (what to do
# about arguments that nobody knows).
COMMANDS = {
    "Sound": ("generate", "continue", "resynthesize", "doctor", "convert"),
    "Training": ("soundscapes", "prepare", "encode", "tokenize", "train", "export", "rehearse"),
    "Evaluation": ("evaluate", "reproduce"),
}
NAMES = tuple(name for names in COMMANDS.values() for name in names)


def main(arguments: list[str] | None = None) -> int:
    """Runs a sub-command and returns its exit code.

    2 and one line on stderr for bad input and what the system refuses; 3 and one line for a result
    that is not finite; 130 after Ctrl-C; 1 where nobody reads stdout any more.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _quiet_libraries()
    try:
        with _repeated_interrupts():
            return _run(arguments)
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        _say(f"error: {one_line(message)}")
        return 3 if isinstance(error, NumericalError) else 2
    finally:
        _settle_streams()


@contextlib.contextmanager
def _repeated_interrupts():
    """Within the block, a Ctrl-C that a callback of the garbage collector swallows comes again.

    JAX has such a callback, and destructors are others: Python prints what they raise and goes on.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # Later: at once, it would be raised in this hook, where it is swallowed too.
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _run(arguments) -> int:
    parser = build_parser(next((a for a in arguments if a in NAMES), ""))
    options, extra = parser.parse_known_args(arguments)
    module = command(options.command)
    options.overrides = extra
    if extra and not getattr(module, "OVERRIDES", False):
        advice = getattr(module, "advice", lambda options: None)(options)
        parser.error(advice or f"unrecognized arguments: {' '.join(extra)}", options.command)
    if name := getattr(module, "EXTRA", None):
        extras.require(name)
    code = module.run(options) or 0
    sys.stdout.flush()
    return code


def build_parser(only: str | None = None) -> Parser:
    """The parser of all commands, or with the options of the one that `only` names.

    Some commands import JAX to list their choices, which takes seconds.
    """
    parser = Parser(
        prog="audioldm2-jax",
        description="Text to audio in JAX: AudioLDM 2, AudioLDM and MusicLDM.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="audioldm2-jax COMMAND [OPTIONS]",
        epilog=overview({group: {n: summary(n) for n in COMMANDS[group]} for group in COMMANDS}),
    )
    version = f"audioldm2-jax {__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        required=True,
        prog="audioldm2-jax",
        help=argparse.SUPPRESS,
    )
    for name in NAMES:
        module = command(name)
        sub = commands.add_parser(
            name,
            description=module.__doc__,
            allow_abbrev=False,
            formatter_class=CommandHelp,
        )
        if only in (None, name):
            module.add_arguments(sub)
            notes = getattr(module, "notes", lambda: "")()
            sub.epilog = epilog(module.EXAMPLES, notes)
    return parser


def command(name: str):
    """The module of a sub-command."""
    # A module that is to be imported by name cannot be called as a keyword is.
    module = f"{name}_" if keyword.iskeyword(name) else name
    return importlib.import_module(f"audioldm2_jax.cli.{module}")


def summary(name: str) -> str:
    """The first line of a sub-command's docstring, for `--help`."""
    return command(name).__doc__.splitlines()[0]


def _message(error: Exception) -> str | None:
    """One line for what the user or the system can mend; None for a mistake of ours."""
    if isinstance(error, InputError | NumericalError):
        return str(error)
    if isinstance(error, OSError):
        name = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    out_of_memory = "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and out_of_memory):
        return "out of memory: ask for fewer or shorter clips, a smaller model, or --dtype bf16"
    return None


def _say(line: str) -> None:
    """To stderr, even if nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _settle_streams() -> None:
    """Points streams that cannot be written any more nowhere: the last flush would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _quiet_libraries() -> None:
    """Warnings as one line each, no notes of libraries, and streams that can print any name.

    XLA's alarm about slow compilation would break our own line about it; its level is read when JAX
    is imported.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {one_line(message)}")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
