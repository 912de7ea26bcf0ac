"""What long work prints on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def timed_message(text: str, shown: bool) -> Iterator[None]:
    """Prints on stderr what long work begins, and how long it took."""
    begin, end = time.perf_counter(), " failed"
    if shown:
        print(f"{text} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
        end = f" {time.perf_counter() - begin:.1f} s"
    finally:
        if shown:
            print(end, file=sys.stderr, flush=True)
