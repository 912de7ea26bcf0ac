"""Several processes as one job, by one contract of environment variables.

COORDINATOR_ADDRESS, NUM_PROCESSES, PROCESS_ID name a job; DISTRIBUTED=1 alone lets JAX find it (TPU
VMs, Slurm, Open MPI, Kubernetes). With neither set, this is one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from audioldm2_jax.errors import InputError, NumericalError

_ERRORS = (InputError, NumericalError)  # what ends a command, by their code on the wire


def initialize() -> None:
    """Joins the job's processes; before the first use of a device.

    Raises InputError if the variables are incomplete or wrong.
    """
    if address := os.environ.get("COORDINATOR_ADDRESS"):
        jax.distributed.initialize(address, _number("NUM_PROCESSES"), _number("PROCESS_ID"))
    elif os.environ.get("DISTRIBUTED") == "1":
        jax.distributed.initialize()


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdigit():
        raise InputError(f"{name} is {value!r}: with COORDINATOR_ADDRESS it must be a number")
    return int(value)


def is_main() -> bool:
    """Whether this process prints and writes what one process should."""
    return jax.process_index() == 0


def gather_bytes(content: bytes) -> list[bytes]:
    """The `content` of every process, by its index, in every process; all must call it.

    Raises the error that another process has left `shared_errors` with.
    """
    if jax.process_count() == 1:
        return [content]
    parts = _gather(b"\0" + content)
    for process, part in enumerate(parts):
        if code := part[0]:
            error = _ERRORS[code - 1](f"process {process}: {part[1:].decode()}")
            error.is_shared = True
            raise error
    return [part[1:] for part in parts]


@contextmanager
def shared_errors() -> Iterator[None]:
    """Within the block, an InputError or NumericalError of one process becomes one of all.

    The others raise it where they next wait for all: in `gather_bytes`, at the latest at the end of
    the block, where all wait. Without it they would wait for ever.
    """
    try:
        yield
    except _ERRORS as error:
        if jax.process_count() > 1 and not error.is_shared:
            code = 1 + [isinstance(error, kind) for kind in _ERRORS].index(True)
            error.is_shared = True
            _gather(bytes([code]) + str(error).encode())
        raise
    gather_bytes(b"")


def _gather(content: bytes) -> list[bytes]:
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.array(len(content), np.int32)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [row[:size].tobytes() for row, size in zip(rows, sizes)]
