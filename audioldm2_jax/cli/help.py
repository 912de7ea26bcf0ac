"""What `--help` and wrong options print: examples, choices, defaults that say something."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from audioldm2_jax.errors import one_line


@dataclass(frozen=True)
class Example:
    """A line that can be typed as it stands, and what it does."""

    line: str
    does: str


class CommandHelp(argparse.RawDescriptionHelpFormatter):
    """Texts as written; a default behind an option's help unless the help speaks of it."""

    def _get_help_string(self, action):
        text = action.help or ""
        silent = any(action.default is value for value in (None, False, argparse.SUPPRESS))
        if silent or action.default == "" or "default" in text or not action.option_strings:
            return text
        return f"{text} (default: %(default)s)"

    def _format_action_invocation(self, action):
        """-t, --prompt, --text TEXT: what stands behind the names is written once."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings)
        return f"{names} {self._format_args(action, action.dest.upper())}"


class Parser(argparse.ArgumentParser):
    """Wrong options are one line on stderr and exit code 2."""

    def _get_values(self, action, arg_strings):
        # Before Python 3.13 `--name=--` gives an empty list in place of a text.
        if action.nargs is None and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "expected one argument")
        return super()._get_values(action, arg_strings)

    def error(self, message: str, command: str | None = None):
        """Prints one line on stderr and exits with 2."""
        of = f"{self.prog} {command}" if command else self.prog
        print(f"error: {one_line(message)} ({of} --help lists what there is)", file=sys.stderr)
        sys.exit(2)


def epilog(examples: Iterable[Example], notes: str = "") -> str:
    """The examples of a command, below what else is to be known."""
    blocks = "\n".join(f"  {_wrapped(example.line)}\n      {example.does}" for example in examples)
    return f"{notes}\n\nExamples:\n{blocks}".lstrip()


def _wrapped(line: str, width: int = 94) -> str:
    """A command line, broken before options as a shell reads it."""
    rows = [""]
    for part in line.replace(" --", "\0--").split("\0"):
        if rows[-1] and len(rows[-1]) + len(part) > width:
            rows.append("    ")
        rows[-1] += part if rows[-1].isspace() or not rows[-1] else f" {part}"
    return " \\\n  ".join(rows)


def overview(groups: dict[str, dict[str, str]]) -> str:
    """All commands with their summaries, by group, and first steps."""
    lines = []
    for group, summaries in groups.items():
        lines.append(f"{group}:")
        lines += [f"  {name:12} {summary}" for name, summary in summaries.items()]
    lines += [
        "",
        "Examples:",
        '  audioldm2-jax generate -t "loud rain"',
        "      a sound of the small model that comes with the package",
        "  audioldm2-jax generate --help",
        "      the options of a command, with examples",
    ]
    return "\n".join(lines)


def choices(names: Iterable[str]) -> str:
    """A metavar that lists what can be chosen: {a,b}."""
    return "{" + ",".join(names) + "}"
