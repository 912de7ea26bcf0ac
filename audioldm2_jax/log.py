"""Progress messages on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


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
