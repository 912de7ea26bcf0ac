"""What a row of `audiolm.py` is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Calls of both sides, which wait for their results.

    runs: "ours", "theirs", and further ones that are timed beside them. goal: the largest ratio of
    times, ours / theirs, that the project asks for. work: how many `unit`s a call computes; the
    table prints them per second. note: what a reader of the JSON must know.
    """

    runs: Mapping[str, Callable]
    goal: float
    work: float
    unit: str
    note: str = ""
