"""Errors that a user sees as one line, which names the thing and what to do."""

from __future__ import annotations

import sys


class InputError(ValueError):
    """Bad input from outside: a path, a checkpoint, a value. The command exits with code 2.

    Its message is one line that any terminal can print: control characters, line breaks and lone
    surrogates, which names of files may hold, are escaped, and the middle of a long text left out.
    """

    is_shared = False  # whether all processes of a job raise it (distributed.shared_errors)

    def __init__(self, message: str):
        super().__init__(one_line(message))


class NumericalError(ArithmeticError):
    """A result holds NaN or infinity: because of weights, dtype or hardware, not of the input.

    The command exits with code 3 and writes nothing. The message is one line, as InputError's.
    """

    is_shared = False

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """`text` as one printable line; of a very long one, the middle is left out."""
    line = printable(text).replace("\n", "\\n")
    return line if len(line) <= 1600 else f"{line[:1200]} ... {line[-300:]}"


def printable(text: str) -> str:
    """`text` with control characters (but line breaks) and lone surrogates as backslash escapes."""
    # C0 and C1 controls, DEL, line and paragraph separators, bidirectional overrides.
    unsafe = {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F)} - {0x0A}
    unsafe |= set(range(0x2066, 0x206A))

    def escaped(character: str) -> str:
        code = ord(character)
        if code in unsafe or 0xD800 <= code < 0xE000:
            return character.encode("unicode_escape", "surrogatepass").decode("ascii")
        return character

    return "".join(map(escaped, str(text)))


def note(text: str) -> None:
    """One line on stderr, escaped: `note: TEXT`."""
    print(f"note: {printable(text)}", file=sys.stderr)
