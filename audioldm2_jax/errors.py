"""The one error for bad input: its message is one line that names the thing and what to do."""


class InputError(ValueError):
    """Bad input from outside: a path, a checkpoint, a value. The command exits with code 2."""
