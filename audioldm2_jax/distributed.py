"""Several processes as one job, by one contract of environment variables.

COORDINATOR_ADDRESS, NUM_PROCESSES, PROCESS_ID name a job; DISTRIBUTED=1 alone lets JAX find it (TPU
VMs, Slurm, Open MPI, Kubernetes). With neither set, this is one process.
"""

from __future__ import annotations

import os

import jax

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
