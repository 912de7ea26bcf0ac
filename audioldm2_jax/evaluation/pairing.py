"""Which generated clip belongs to which reference: by file name, or by its stem."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from audioldm2_jax.evaluation.rules import EvalProtocol


@dataclass(frozen=True)
class Pairs:
    """Pairs of two sets, in the order of the reference's names.

    generated, reference: positions of the partners, int arrays [pairs]. is_paired: whether there
    are enough pairs for paired metrics. unmatched_*: positions of clips without a partner. lines:
    what a reader should know of the pairing, e.g. how more names would match.
    """

    generated: np.ndarray
    reference: np.ndarray
    is_paired: bool
    unmatched_generated: np.ndarray
    unmatched_reference: np.ndarray
    lines: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.generated)


def pair_names(generated: Sequence[str], reference: Sequence[str], protocol: EvalProtocol) -> Pairs:
    """Pairs clips by the protocol's rule. generated, reference: names, unique in their set.

    Names are compared with their folders first, and without them where that gives more pairs. A
    name that stands for several clips of a set pairs none of them.
    """
    matches = _best_matches(generated, reference, protocol.pairing)
    partners = [np.asarray(side, int) for side in zip(*matches)] if matches else [_NONE, _NONE]
    unmatched = [
        np.setdiff1d(np.arange(len(names)), side)
        for names, side in zip((generated, reference), partners)
    ]
    is_paired = bool(matches) and (
        min(len(matches) / len(generated), len(matches) / len(reference)) > protocol.paired_share
    )
    lines = _lines(generated, reference, protocol, unmatched, is_paired, len(matches))
    return Pairs(*partners, is_paired, *unmatched, lines)


_NONE = np.zeros(0, int)


def _best_matches(
    generated: Sequence[str], reference: Sequence[str], rule: str
) -> list[tuple[int, int]]:
    """(position in generated, position in reference), by the kind of key that matches more."""
    best: list[tuple[int, int]] = []
    for whole in (True, False):
        ours, theirs = (_keys(names, rule, whole) for names in (generated, reference))
        matches = [(ours[key], theirs[key]) for key in sorted(ours.keys() & theirs.keys())]
        best = max(best, matches, key=len)
        if len(best) == min(len(generated), len(reference)):
            break
    return best


def _keys(names: Iterable[str], rule: str, whole: bool) -> dict[str, int]:
    """Key -> position, of the keys that stand for one clip. whole: with the folders."""
    keys: dict[str, int | None] = {}
    for position, name in enumerate(names):
        key = name if whole else name.rpartition("/")[2]
        key = stem(key) if rule == "stem" else key
        keys[key] = None if key in keys else position
    return {key: position for key, position in keys.items() if position is not None}


def stem(name: str) -> str:
    """A name without its last suffix, folders kept."""
    dot = name.rfind(".")
    return name[:dot] if name.rfind("/") + 1 < dot < len(name) - 1 else name


def _lines(
    generated: Sequence[str],
    reference: Sequence[str],
    protocol: EvalProtocol,
    unmatched: list[np.ndarray],
    is_paired: bool,
    count: int,
) -> list[str]:
    """The pairing in a line, and in a second what would match more."""
    if is_paired and not any(map(len, unmatched)):
        return []
    sides = [
        f"{len(positions)} of {len(names)} {side} clips have no partner"
        + _examples(names, positions)
        for side, names, positions in zip(
            ("generated", "reference"), (generated, reference), unmatched
        )
        if len(positions)
    ]
    lines = ["; ".join(sides)]
    if not is_paired:
        lines[0] += (
            f": paired metrics are left out, they need pairs for more than "
            f"{protocol.paired_share:.0%} of both sets"
        )
    more = len(_best_matches(generated, reference, "stem")) if protocol.pairing == "name" else 0
    if more > count:
        lines.append(
            f"names differ by their suffix: pairing by stem would pair {more} instead of {count}"
        )
    return lines


def _examples(names: Sequence[str], positions: np.ndarray) -> str:
    shown = [names[i] for i in positions[:3]]
    return f" ({', '.join(shown)}{', ...' if len(positions) > 3 else ''})"
