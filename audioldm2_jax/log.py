"""Progress messages on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from audioldm2_jax.errors import printable


@contextlib.contextmanager
def timed_message(text: str, visible: bool = True) -> Iterator[None]:
    """Prints `text` before the block, and the seconds that the block took behind it."""
    start, end = time.perf_counter(), " failed"
    if visible:
        print(f"{text} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
        end = f" {time.perf_counter() - start:.1f} s"
    finally:
        if visible:
            print(end, file=sys.stderr, flush=True)


@contextlib.contextmanager
def seconds_bar(text: str, seconds: float, *, visible: bool = True) -> Iterator[Callable]:
    """Yields a function that moves a bar of so many seconds of sound on by some of them."""
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]"
    settings = {"desc": text, "file": sys.stderr, "disable": not visible}
    with tqdm(total=seconds, bar_format=layout, **settings) as bar:
        # Sums of fractions end a little beside the total.
        yield lambda done: bar.update(min(done, seconds - bar.n))


class Counter:
    """Lines on stderr of how many of `total` things are done, a few seconds apart and at the end.

    text: what is counted. visible: whether lines are printed.
    """

    def __init__(self, text: str, total: int, *, visible: bool = True, seconds: float = 5.0):
        self._text, self._total, self._visible, self._seconds = text, total, visible, seconds
        self._start = self._last = time.perf_counter()
        self._done = 0

    def add(self, count: int = 1) -> None:
        """Counts things that are done."""
        self._done += count
        now = time.perf_counter()
        if self._visible and (self._done >= self._total or now - self._last >= self._seconds):
            rate = self._done / max(1e-9, now - self._start)
            line = f"{self._text}: {self._done} of {self._total}, {rate:.1f} per second"
            print(printable(line), file=sys.stderr, flush=True)
            self._last = now
