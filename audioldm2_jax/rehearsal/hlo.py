"""Reads a compiled program's text (XLA's HLO) as computations of instructions.

The text is that of `jax.stages.Compiled.as_text()`. Its grammar is not specified; what is read here
is what XLA prints for CPU, GPU and TPU with jax 0.10 and 0.11.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

_SHAPE = re.compile(r"\b(pred|token|opaque|[a-z]+\d+\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+)(?: \(.*)? \{$")
_COMMENT = re.compile(r"/\*.*?\*/")
# Files through which everybody's products pass: their callers are the source that tells more.
_PASSED = ("site-packages/", "audioldm2_jax/models/kernels/", "audioldm2_jax/models/dense.py")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


@dataclass(frozen=True)
class Shape:
    """An array. space: of memory; 0 is the chip's main memory, others are on the core (TPU)."""

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def bits(self) -> int:
        """Of one element."""
        if self.dtype in ("pred", "token", "opaque"):
            return 8 if self.dtype == "pred" else 0
        return int(re.findall(r"\d+", self.dtype)[0])

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """In main memory: 0 for an array in another space."""
        return 0 if self.space else -(-self.size * self.bits // 8)


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    shapes: of the result, one for each member of a tuple, nested ones in a row. operands: their
    names. literal: what stands in the brackets. attributes: what follows them.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    literal: str
    attributes: str
    is_root: bool

    def attribute(self, name: str) -> str:
        """An attribute's value up to the next comma outside brackets; "" if there is none."""
        match = re.search(rf"(?:^|[ {{]){name}=", self.attributes)
        return _until(self.attributes[match.end() :], ",") if match else ""

    @functools.cached_property
    def called(self) -> tuple[str, ...]:
        """The computations that it runs: a fusion's, a call's, a loop's body, all branches."""
        single = [self.attribute(key) for key in ("calls", "to_apply", "body")]
        single += [self.attribute(f"{key}_computation") for key in ("true", "false")]
        branches = self.attribute("branch_computations").strip("{}").split(",")
        return tuple(name.strip(" %") for name in single + branches if name.strip(" %"))

    @property
    def target(self) -> str:
        """The library's function that a custom call runs; "" for other instructions."""
        return self.attribute("custom_call_target").strip('"')

    @property
    def op_name(self) -> str:
        """JAX's path of names to the operation that it comes from; "" if unknown."""
        match = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
        return match[1].replace("\\'", "'") if match else ""


@dataclass(frozen=True)
class Module:
    """A program. computations: {name: {name: instruction}} in the order of the text."""

    computations: dict[str, dict[str, Instruction]]
    entry: str
    frames: dict[int, str]

    def source(self, instruction: Instruction) -> str:
        """`file:line` that an instruction comes from; "" if unknown."""
        attributes = instruction.attributes
        if match := re.search(r"stack_frame_id=(\d+)", attributes):
            return self.frames.get(int(match[1]), "")
        match = re.search(r'source_file="([^"]*)" source_line=(\d+)', attributes)
        return f"{match[1]}:{match[2]}" if match else ""

    def shapes_of(self, computation: str, name: str) -> tuple[Shape, ...]:
        """The shapes of an instruction's result; none if it is unknown."""
        found = self.computations[computation].get(name)
        return found.shapes if found else ()


def parse(text: str) -> Module:
    """The module of a program's text. Raises ValueError for a text without an entry."""
    computations: dict[str, dict[str, Instruction]] = {}
    tables: dict[str, list[str]] = {name: [] for name in _TABLES}
    entry, rows, current = "", None, None
    for line in text.splitlines():
        if line in tables:
            rows = tables[line]
        elif not line.startswith(" ") and (header := _COMPUTATION.match(line)):
            current, rows = computations.setdefault(header[2], {}), None
            entry = header[2] if header[1] else entry
        elif current is None:
            if rows is not None and line:
                rows.append(line)
        elif match := _INSTRUCTION.match(line):
            instruction = _instruction(bool(match[1]), match[2], _COMMENT.sub("", match[3]))
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("the text of a compiled program has no ENTRY")
    return Module(computations, entry, _frames(tables))


def shapes_in(text: str) -> tuple[Shape, ...]:
    """All arrays of a type as XLA writes it, such as `(f32[8,2]{1,0}, pred[])`."""
    return tuple(
        Shape(dtype, tuple(int(n.lstrip("<=")) for n in dims.split(",") if n), _space(layout))
        for dtype, dims, layout in _SHAPE.findall(text)
    )


def _space(layout: str) -> int:
    match = re.search(r"S\((\d+)\)", layout)
    return int(match[1]) if match else 0


def _instruction(is_root: bool, name: str, text: str) -> Instruction:
    kind = _until(text, " ")
    rest = text[len(kind) :].lstrip()
    opcode, _, rest = rest.partition("(")
    literal = _until(rest, ")")
    operands: tuple[str, ...] = ()
    if opcode not in ("constant", "parameter"):
        # Some versions write an operand's type before its name.
        operands = tuple(part.split()[-1].lstrip("%") for part in _parts(literal))
    attributes = rest[len(literal) + 1 :].lstrip(", ")
    return Instruction(name, opcode, shapes_in(kind), operands, literal, attributes, is_root)


def _until(text: str, end: str) -> str:
    """The text up to the first `end` that stands outside brackets and quotes."""
    depth, is_quoted = 0, False
    for i, c in enumerate(text):
        if c == '"' and (i == 0 or text[i - 1] != "\\"):
            is_quoted = not is_quoted
        elif not is_quoted:
            if depth == 0 and c == end:
                return text[:i]
            depth += (c in "([{") - (c in ")]}")
    return text


def _parts(text: str) -> list[str]:
    """The pieces between commas outside brackets."""
    parts = []
    while text.strip():
        part = _until(text, ",")
        parts.append(part)
        text = text[len(part) + 1 :]
    return parts


def _frames(tables: dict[str, list[str]]) -> dict[int, str]:
    """{stack frame: `file:line`} of the innermost caller outside `_PASSED`."""
    files = {
        int(row.split(" ", 1)[0]): row.split(" ", 1)[1].strip('"') for row in tables["FileNames"]
    }
    places, stack = {}, {}
    for row in tables["FileLocations"]:
        number, fields = _row(row)
        places[number] = files.get(fields["file_name_id"], ""), fields.get("line", 0)
    for row in tables["StackFrames"]:
        number, fields = _row(row)
        # XLA writes the parent's number plus one; the outermost frame has none.
        stack[number] = fields["file_location_id"], fields.get("parent_frame_id", 1) - 1

    def named(number):
        first = number
        while number in stack:
            file, line = places[stack[number][0]]
            if not any(part in file for part in _PASSED):
                return f"{file}:{line}"
            number = stack[number][1] if stack[number][1] != number else 0
        file, line = places[stack[first][0]]
        return f"{file}:{line}"

    return {number: named(number) for number in stack}


def _row(text: str) -> tuple[int, dict[str, int]]:
    """`3 {a=1 b=2}` -> (3, {"a": 1, "b": 2})"""
    number, _, fields = text.partition(" ")
    return int(number), {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", fields)}
