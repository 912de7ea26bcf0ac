"""A compiled program as the kernels that the chip starts: what each costs and where it is from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audioldm2_jax.rehearsal import costs
from audioldm2_jax.rehearsal.hlo import Instruction, Module

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
CATEGORIES = (
    *("gemm", "convolution", "attention", "reduction", "transpose", "concatenation", "copy"),
    *("elementwise", "indexing", "collective", "other"),
)
# What starts nothing on the chip.
_FREE = (*costs.ALIASES, "constant", "after-all", "partition-id", "replica-id", "domain")
_FREE_CALLS = ("ConcatBitcast", "AllocateBuffer", "Sharding")
_INDEXING = {"gather", "scatter", "dynamic-slice", "dynamic-update-slice", "sort"}
_MOVES = {"copy", "convert", "bitcast", "parameter", "constant", "tuple", "get-tuple-element"}


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program. All figures are those of one run of it, on one chip.

    count: how often a run of the program starts it: loops' trips count; collective: its kind, or
    ""; link_bytes: what the chip sends; op_name, source: JAX's path and `file:line`, "" if unknown.
    """

    name: str
    category: str
    count: int
    bytes: int
    flops: float
    collective: str
    link_bytes: int
    op_name: str
    source: str


@dataclass(frozen=True)
class Kernels:
    """unknown_loops: how many loops of unknown length there are, whose bodies count once."""

    kernels: tuple[Kernel, ...]
    unknown_loops: int


def together(programs: Iterable[Kernels]) -> Kernels:
    """The kernels of programs that run one after another."""
    programs = tuple(programs)
    kernels = tuple(kernel for program in programs for kernel in program.kernels)
    return Kernels(kernels, sum(program.unknown_loops for program in programs))


def read_kernels(module: Module, trips: int | None = None) -> Kernels:
    """All kernels of a program, in the order of its text.

    trips: of loops whose length is an argument of the program; None if nobody knows it.
    """
    unknown: list[str] = []
    return Kernels(tuple(_walk(module, module.entry, 1, trips, unknown)), len(unknown))


def _walk(
    module: Module, computation: str, count: int, trips: int | None, unknown: list[str]
) -> Iterator[Kernel]:
    """The kernels of a computation that runs `count` times; appends loops of unknown length."""
    for instruction in module.computations[computation].values():
        opcode = instruction.opcode
        if opcode in _FREE or opcode.endswith(("-done", "async-update")):
            continue
        if instruction.target in _FREE_CALLS:
            continue
        if opcode not in ("while", "call", "conditional", "async-start"):
            yield _kernel(module, computation, instruction, count)
            continue
        times = 1
        if opcode == "while":
            known = trip_count(module, instruction)
            times = trips if known is None else known
            if times is None:
                unknown.append(instruction.name)
                times = 1
        for called in instruction.called:
            yield from _walk(module, called, count * times, trips, unknown)


def trip_count(module: Module, loop: Instruction) -> int | None:
    """How often a loop runs; None if that is unknown.

    XLA for GPUs writes it down. Else it is the bound of a condition `index < bound`, where JAX's
    scans count from 0.
    """
    if match := re.search(r'"known_trip_count": ?\{"n": ?"(\d+)"', loop.attributes):
        return int(match[1])
    condition = module.computations[loop.attribute("condition").lstrip("%")]
    root = next((i for i in condition.values() if i.is_root), None)
    if root is not None and root.opcode == "fusion":
        # The comparison alone, fused.
        bounds = [condition.get(name) for name in root.operands]
        inner = module.computations[root.called[0]].values()
        if not any(i.opcode == "compare" and "direction=LT" in i.attributes for i in inner):
            return None
        bounds += [i for i in inner if i.opcode == "constant"]
    elif root is not None and root.opcode == "compare" and "direction=LT" in root.attributes:
        bounds = [condition.get(root.operands[1])]
    else:
        return None
    literals = [i.literal for i in bounds if i is not None and i.opcode == "constant"]
    return int(literals[0]) if len(literals) == 1 and literals[0].isdecimal() else None


def _kernel(module: Module, computation: str, instruction: Instruction, count: int) -> Kernel:
    inner = list(_fused(module, instruction))
    collective = next((kind for i in inner if (kind := _collective(i))), "")
    flops = costs.flops(module, computation, instruction)
    return Kernel(
        instruction.name,
        "collective" if collective else _category(instruction, inner, flops),
        count,
        costs.bytes_moved(module, computation, instruction),
        flops,
        collective,
        sum(_link_bytes(i) for i in inner),
        instruction.op_name,
        module.source(instruction),
    )


def _fused(module: Module, instruction: Instruction) -> Iterator[Instruction]:
    """An instruction and all that it fuses."""
    yield instruction
    if instruction.opcode == "fusion":
        for called in instruction.called:
            for inner in module.computations[called].values():
                yield from _fused(module, inner)


def _collective(instruction: Instruction) -> str:
    kind = instruction.opcode.removesuffix("-start")
    return kind if kind in COLLECTIVES else ""


def _link_bytes(instruction: Instruction) -> int:
    """The bytes of a collective's result, twice for a sum: it is sent and received again.

    Of operations in two halves the first one's result holds the operands too, so that its largest
    member counts; else all members do.
    """
    kind = _collective(instruction)
    if not kind:
        return 0
    sizes = [-(-shape.size * shape.bits // 8) for shape in instruction.shapes]
    is_start = instruction.opcode.endswith("-start") and kind != "all-reduce"
    size = max(sizes, default=0) if is_start else sum(sizes)
    return 2 * size if kind == "all-reduce" else size


def _category(instruction: Instruction, inner: list[Instruction], flops: float) -> str:
    """One of `CATEGORIES`. inner: the instruction and what it fuses."""
    if instruction.opcode == "custom-call":
        return _library(instruction)
    kinds = {i.opcode for i in inner}
    if flops:
        # TPUs compute products as convolutions; JAX's name tells what was asked for.
        names = [i.op_name for i in inner if i.opcode == "convolution"]
        return "gemm" if all("dot_general" in name for name in names) else "convolution"
    if kinds & {"reduce", "reduce-window"}:
        return "reduction"
    if kinds & _INDEXING:
        return "indexing"
    for opcode, category in (("transpose", "transpose"), ("concatenate", "concatenation")):
        if opcode in kinds:
            return category
    if instruction.opcode.endswith(("copy-start", "slice-start")) or kinds - {"fusion"} <= _MOVES:
        return "copy"
    return "elementwise"


def _library(instruction: Instruction) -> str:
    target = instruction.target
    if target == "tpu_custom_call" or "triton" in target:
        # A Pallas kernel; its name is that of its caller.
        return "attention" if "attention" in instruction.op_name.lower() else "other"
    for key, category in (
        ("fmha", "attention"),
        ("conv", "convolution"),
        ("gemm", "gemm"),
        ("matmul", "gemm"),
        ("TopK", "indexing"),
    ):
        if key in target:
            return category
    return "other"
