"""What a compiled program needs: figures for a program that reads them, and a table for people."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from audioldm2_jax.errors import InputError
from audioldm2_jax.rehearsal.chips import Chip
from audioldm2_jax.rehearsal.kernels import CATEGORIES, Kernel, Kernels

_HEAVIEST = 10
_SIZES = ("arguments", "temporary", "output", "total", "chip")


def memory_figures(compiled, chip: Chip) -> dict:
    """Gigabytes of one chip that a compiled program takes, and whether the chip has them.

    "GB total" is the most that is held at once: arguments, results and temporary arrays.
    """
    memory = compiled.memory_analysis()
    arguments, output = memory.argument_size_in_bytes, memory.output_size_in_bytes
    temporary = memory.temp_size_in_bytes
    total = arguments + temporary + output - memory.alias_size_in_bytes
    return {
        "GB arguments": arguments / 1e9,
        "GB temporary": temporary / 1e9,
        "GB output": output / 1e9,
        "GB total": total / 1e9,
        "GB chip": chip.memory / 1e9,
        "fits": total <= chip.memory,
    }


def too_large(error: str) -> dict:
    """The figures of a program that the compiler finds too large, from its message.

    Raises InputError for another message.
    """
    size = r"([\d.]+)([MGT])"
    match = re.search(rf"Used {size} of {size} hbm", error) or re.search(
        rf"required for HLO temporaries \({size}\) exceeds available HBM \({size}\)", error
    )
    if not match:
        raise InputError(f"the compiler failed: {error.strip().splitlines()[0]}") from None
    requested, limit = (
        float(value) * {"M": 2**20, "G": 2**30, "T": 2**40}[unit] / 1e9
        for value, unit in (match.group(1, 2), match.group(3, 4))
    )
    return {"GB total": requested, "GB chip": limit, "fits": False}


def kernel_figures(program: Kernels, chip: Chip) -> dict:
    """Figures of a program's kernels: totals, by category, and the heaviest places.

    Of one run of the program on one chip; loops count with their trips.
    """
    places: dict[tuple[str, str], list[Kernel]] = {}
    for kernel in program.kernels:
        places.setdefault((kernel.category, kernel.source), []).append(kernel)
    heaviest = [_place(kernels, chip) for kernels in places.values()]
    heaviest.sort(key=lambda sums: -sums["ms roofline"])
    by_category = {
        name: _sums([k for k in program.kernels if k.category == name], chip) for name in CATEGORIES
    }
    return _sums(program.kernels, chip) | {
        "loops of unknown length": program.unknown_loops,
        "categories": {name: sums for name, sums in by_category.items() if sums["kernels"]},
        "heaviest": heaviest[:_HEAVIEST],
    }


def kernel_seconds(kernel: Kernel, chip: Chip) -> float:
    """The least time of one run of a kernel: whichever of memory, products and links is slowest."""
    return max(
        kernel.bytes / chip.bandwidth, kernel.flops / chip.flops, kernel.link_bytes / chip.links
    )


def collective_figures(program: Kernels) -> dict:
    """{kind: {count, GB}}: the collectives of a program; GB are those of the results on a chip."""
    traffic: dict[str, dict] = {}
    for kernel in program.kernels:
        if kernel.collective:
            entry = traffic.setdefault(kernel.collective, {"count": 0, "GB": 0.0})
            entry["count"] += kernel.count
            # A sum is sent and received again.
            share = 2 if kernel.collective == "all-reduce" else 1
            entry["GB"] += kernel.count * kernel.link_bytes / share / 1e9
    return traffic


def _sums(kernels: Iterable[Kernel], chip: Chip) -> dict:
    return {
        "kernels": sum(k.count for k in kernels),
        "GB moved": sum(k.count * k.bytes for k in kernels) / 1e9,
        "GB sent": sum(k.count * k.link_bytes for k in kernels) / 1e9,
        "GFLOP": sum(k.count * k.flops for k in kernels) / 1e9,
        "ms roofline": sum(k.count * kernel_seconds(k, chip) for k in kernels) * 1e3,
    }


def _place(kernels: list[Kernel], chip: Chip) -> dict:
    """The figures of the kernels of one category and source line; operation: of the heaviest."""
    heaviest = max(kernels, key=lambda k: kernel_seconds(k, chip))
    names = {"category": heaviest.category, "source": heaviest.source}
    return names | {"operation": heaviest.op_name} | _sums(kernels, chip)


def table(report: dict) -> str:
    """The figures of memory and kernels as lines of text."""
    sizes = [name for name in _SIZES if f"GB {name}" in report]
    line = ", ".join(f"{name} {report[f'GB {name}']:.2f}" for name in sizes)
    lines = [f"memory, GB: {line}{'' if report['fits'] else ' (it does not fit the chip)'}"]
    for stage, sums in report.get("stages", {}).items():
        lines.append(f"{stage}: weights {sums['GB weights']:.2f}, at most {sums['GB total']:.2f}")
    if "categories" not in report:
        return "\n".join(lines)
    if loops := report["loops of unknown length"]:
        lines.append(f"{loops} loops of unknown length: their bodies count once")
    lines.append(f"{'kernels':<16}{'count':>8}{'GB moved':>10}{'GFLOP':>10}{'ms, roofline':>14}")
    rows = sorted(report["categories"].items(), key=lambda item: -item[1]["ms roofline"])
    lines += [_row(name, sums) for name, sums in [*rows, ("all", report)]]
    lines.append("the heaviest, by category and source line:")
    for place in report["heaviest"]:
        operation = "/".join(place["operation"].split("/")[-3:])
        lines.append(_row(place["category"], place) + f"  {_short(place['source'])} {operation}")
    return "\n".join(lines)


def _row(name: str, sums: dict) -> str:
    values = sums["GB moved"], sums["GFLOP"], sums["ms roofline"]
    moved, gflop, time = values
    return f"{name:<16}{sums['kernels']:>8}{moved:>10.3f}{gflop:>10.1f}{time:>14.3f}"


def _short(source: str) -> str:
    """A source line's place without the folders above the package."""
    file, _, line = source.rpartition(":")
    parts = file.split(os.sep)
    if "audioldm2_jax" in parts:
        parts = parts[len(parts) - 1 - parts[::-1].index("audioldm2_jax") :]
    return f"{'/'.join(parts)}:{line}" if file else ""
