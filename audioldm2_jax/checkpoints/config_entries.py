"""Entries of a JSON configuration, read by name, each checked for its type and its bounds."""

from __future__ import annotations

import math

from audioldm2_jax.errors import InputError

# The diffusers version whose file format we write.
DIFFUSERS_VERSION = "0.42.0"
# Far beyond any published model, so that no file can ask for memory or time without bound.
WIDTH, DEPTH, LEVELS, ROWS = 1 << 15, 128, 8, 1 << 21


def require(config: dict, where: str, **expected):
    """Raises InputError unless every named entry is absent or has the one supported value."""
    for name, value in expected.items():
        actual = config.get(name, value)
        actual = list(actual) if isinstance(actual, (list, tuple)) else actual
        same_type = isinstance(actual, bool) == isinstance(value, bool)
        if actual != value or not same_type:
            raise InputError(f"{where}: {name} is {actual!r:.200}; only {value!r} is supported")


def levels(value, count: int, where: str, name: str) -> tuple:
    """One value per level, from a single value or a list of `count` values."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * count
    if len(values) != count:
        raise InputError(f"{where}: {name} has {len(values)} entries for {count} levels")
    return values


class Entries:
    """The entries of one configuration file.

    Each method returns the default if the entry is absent or null. It raises InputError with the
    file, the entry and its value if the entry is of the wrong type or out of bounds.
    """

    def __init__(self, content, where: str):
        if not isinstance(content, dict):
            raise InputError(f"{where}: {content!r:.80} is no object of entries")
        self.content, self.where = content, where

    def get(self, name: str, default=None):
        """The entry's value; the default where it is absent or null."""
        value = self.content.get(name)
        return default if value is None else value

    def refuse(self, name: str, requirement: str):
        """Raises InputError that names the file, the entry and what it must be."""
        value = self.content.get(name)
        raise InputError(f"{self.where}: {name} is {value!r:.80}; {requirement} is needed")

    def integer(self, name: str, default: int | None, low: int = 1, high: int = WIDTH) -> int:
        """A whole number within bounds. Raises InputError."""
        return self.integer_of(self.get(name, default), name, low, high)

    def integer_of(self, value, name: str, low: int = 1, high: int = WIDTH) -> int:
        """Checks one value that belongs to the entry `name`."""
        if type(value) is not int or not low <= value <= high:
            self.refuse(name, f"a whole number from {low} to {high}")
        return value

    def integers(
        self, name: str, default=None, *, count: int = LEVELS, low: int = 1, high: int = WIDTH
    ) -> tuple[int, ...]:
        """A list of whole numbers, at least one and at most `count`."""
        values = self.get(name, default)
        if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= count:
            self.refuse(name, f"a list of 1 to {count} whole numbers")
        return tuple(self.integer_of(value, name, low, high) for value in values)

    def number(self, name: str, default: float, low: float = 0.0, high: float = 1e9) -> float:
        """A finite number within bounds."""
        value = self.get(name, default)
        plain = type(value) in (int, float) and math.isfinite(value)
        if not plain or not low <= value <= high:
            self.refuse(name, f"a number from {low:g} to {high:g}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false. Raises InputError."""
        value = self.get(name, default)
        if type(value) is not bool:
            self.refuse(name, "true or false")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """One of the choices. Raises InputError."""
        value = self.get(name, default)
        if value not in choices:
            self.refuse(name, f"one of {' '.join(choices)}")
        return value


def transformers_entries(name: str, config: dict, where: str) -> Entries:
    """Entries of a transformers configuration, with the defaults of its class filled in.

    name: the configuration class. The values are not checked yet.
    """
    import transformers

    kind = getattr(transformers, name)
    content = Entries(config, where).content
    # Entries go by two names, such as GPT-2's n_embd and hidden_size.
    renamed = {kind.attribute_map.get(k, k): v for k, v in content.items()}
    own = {k: v for k, v in content.items() if k not in kind.attribute_map}
    return Entries(kind().to_dict() | renamed | own, where)


def heads_of(entries: Entries, heads: str, width: str) -> int:
    """The number of heads. Raises InputError unless it divides the width."""
    count = entries.integer(heads, None, high=1024)
    if entries.integer(width, None) % count:
        entries.refuse(heads, f"a divisor of {width}")
    return count


def groups_of(entries: Entries, channels: tuple[int, ...]) -> int:
    """The number of norm groups. Raises InputError unless it divides every level's width."""
    groups = entries.integer("norm_num_groups", 32)
    if any(width % groups for width in channels):
        entries.refuse("norm_num_groups", f"a divisor of the widths {list(channels)}")
    return groups
