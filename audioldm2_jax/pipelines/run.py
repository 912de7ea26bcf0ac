"""Compiling and running a job: memory is told and checked before it runs, long work announced."""

from __future__ import annotations

import functools
import math
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines import program


def available_memory() -> int:
    """Bytes free on the default device (on the CPU: in the machine)."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    import psutil

    return psutil.virtual_memory().available


def needed_memory(compiled) -> int:
    """Bytes a compiled program takes besides its arguments."""
    analysis = compiled.memory_analysis()
    return 0 if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def check_fits(needed: int, what: str) -> None:
    """Raises InputError if so many bytes beside the weights are not free."""
    free = available_memory()
    if needed > free:
        raise InputError(
            f"{what} needs {needed / 1e9:.1f} GB beside the model, {free / 1e9:.1f} GB are free: "
            "ask for fewer seconds, prompts or candidates"
        )


def tree_bytes(shapes) -> int:
    """Bytes of a tree of arrays or of their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


class Runner:
    """Keeps compiled programs of one model and runs them."""

    def __init__(self, params: dict, dtype):
        self.params = params
        self.dtype = dtype
        self._compiled: dict = {}
        self._shapes: dict = {}

    def compiled(self, function, job, *arguments, label: str, progress: bool):
        """The program of function(job, *arguments), compiled once for each job and shape.

        Arguments may be shapes alone. Raises InputError if it needs more memory than is free.
        """
        key = _identity(function, job, arguments)
        if key not in self._compiled:
            with Note(f"compiling the {label}", progress):
                jitted = jax.jit(functools.partial(function, job))
                # fp32 means fp32: some backends would round products to fewer bits.
                exact = jnp.dtype(self.dtype) == jnp.float32
                with jax.default_matmul_precision("highest" if exact else "default"):
                    self._compiled[key] = jitted.lower(*arguments).compile()
        check_fits(needed_memory(self._compiled[key]), f"the {label}")
        return self._compiled[key]

    def shapes(self, function, job, *arguments):
        """Shapes of what function(job, *arguments) returns, traced once for each job and shape."""
        key = _identity(function, job, arguments)
        if key not in self._shapes:
            self._shapes[key] = jax.eval_shape(functools.partial(function, job), *arguments)
        return self._shapes[key]

    def whole(self, job, *arguments, progress: bool):
        """The program from tokens to waveform; arguments as `program.generate` takes them, after
        the parameters. Raises InputError if it needs more memory than is free.
        """
        arguments = (self.params, *arguments)
        return self.compiled(
            program.generate, job, *arguments, label="whole program", progress=progress
        )


def _identity(function, job, arguments):
    """What decides a program: the function, its job, and the arguments' structure and shapes."""
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((np.shape(x), str(jnp.result_type(x))) for x in leaves)
    return function, job, structure, shapes


class Note:
    """Says on stderr what long work begins, and how long it took."""

    def __init__(self, text: str, shown: bool):
        self.text, self.shown = text, shown

    def __enter__(self):
        self.begin = time.perf_counter()
        if self.shown:
            print(f"{self.text} ...", end="", file=sys.stderr, flush=True)

    def __exit__(self, kind, *_):
        if self.shown:
            end = f" {time.perf_counter() - self.begin:.1f} s" if kind is None else " failed"
            print(end, file=sys.stderr, flush=True)
