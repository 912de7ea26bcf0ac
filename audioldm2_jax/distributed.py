"""Several processes as one job, by one contract of environment variables.

COORDINATOR_ADDRESS, NUM_PROCESSES, PROCESS_ID name a job; DISTRIBUTED=1 alone lets JAX find it (TPU
VMs, Slurm, Open MPI, Kubernetes). With neither set, this is one process.
"""

from __future__ import annotations

import os

import jax
import numpy as np

from audioldm2_jax.errors import InputError


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
    """The `content` of every process, by its index, in every process; all must call it."""
    if jax.process_count() == 1:
        return [content]
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.array(len(content), np.int32)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [row[:size].tobytes() for row, size in zip(rows, sizes)]
