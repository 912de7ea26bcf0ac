"""Work cut into parts that are done in several processes; what is done survives a stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from audioldm2_jax.errors import InputError


def parallel_map(work: Callable, jobs: Iterable, workers: int | None = None) -> Iterator[Any]:
    """work(job) for each job, in order. workers: processes; 1: this one; None: as many as cores.

    Raises InputError if the system ends a process.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            yield from pool.map(work, jobs)
        except BrokenProcessPool:
            raise InputError(
                "a worker process was ended, as systems do when memory runs out; the same command "
                "goes on from here: give fewer --workers"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
