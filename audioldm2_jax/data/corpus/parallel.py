"""A parallel map over processes, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from audioldm2_jax.errors import InputError


def parallel_map(function: Callable, jobs: Iterable, workers: int | None = None) -> Iterator[Any]:
    """Yields function(job) for each job, in order.

    workers: number of processes; 1 runs in this process, None uses one for each core. Raises
    InputError if the system kills a process.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            yield from pool.map(function, jobs)
        except BrokenProcessPool:
            raise InputError(
                "a worker process was ended, as systems do when memory runs out; the same command "
                "goes on from here: give fewer --workers"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
