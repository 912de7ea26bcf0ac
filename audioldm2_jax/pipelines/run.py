"""Compiling and running a job: memory is told and checked before it runs, long work announced."""

from __future__ import annotations

import functools
import math
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.diffusion import samplers
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

    def compiled(self, function, job, *arguments, label: str, progress: bool):
        """The program of function(job, *arguments), compiled once for each job and shape.

        Arguments may be shapes alone. Raises InputError if it needs more memory than is free.
        """
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((np.shape(x), str(jnp.result_type(x))) for x in leaves)
        key = (function, job, structure, shapes)
        if key not in self._compiled:
            with Note(f"compiling the {label}", progress):
                jitted = jax.jit(functools.partial(function, job))
                # fp32 means fp32: some backends would round products to fewer bits.
                exact = jnp.dtype(self.dtype) == jnp.float32
                with jax.default_matmul_precision("highest" if exact else "default"):
                    self._compiled[key] = jitted.lower(*arguments).compile()
        check_fits(needed_memory(self._compiled[key]), f"the {label}")
        return self._compiled[key]

    def programs(self, job, texts, plan, guidance, keys, latents, *, stepwise, progress):
        """({name: compiled program}, bytes that running them takes beside the weights).

        stepwise: in parts, behind a bar that counts evaluations of the network. For the CPU, where
        a step takes seconds and a program with a callback is never cached.
        """
        if not stepwise:
            arguments = (self.params, texts, plan, guidance, keys, latents)
            run = self.compiled(
                program.generate, job, *arguments, label="whole program", progress=progress
            )
            return {"whole": run}, needed_memory(run)
        before = (self.params, texts, _padded(plan))
        context, _ = jax.eval_shape(functools.partial(program.condition, job), *before)
        sample = jax.ShapeDtypeStruct(latents.shape, jnp.float32)
        within = (self.params, context, sample, 0, guidance)
        made = {
            "condition": self.compiled(
                program.condition, job, *before, label="text encoders", progress=progress
            ),
            "predict": self.compiled(_predict, job, *within, label="U-Net", progress=progress),
            "render": self.compiled(
                program.render, job, self.params, sample, label="decoders", progress=progress
            ),
        }
        bytes_of = {name: needed_memory(run) for name, run in made.items()}
        bytes_of["predict"] += tree_bytes(context)
        return made, max(bytes_of.values())

    def whole(self, made, arguments, *, progress):
        """One program from tokens to waveform; arguments as `programs` takes them, after job."""
        with Note(f"generating {arguments[-1].shape[0]} clips", progress):
            return jax.block_until_ready(made["whole"](self.params, *arguments))

    def stepwise(self, made, texts, plan, guidance, keys, latents):
        """The same in parts, with a bar."""
        from tqdm import tqdm

        context, features = made["condition"](self.params, texts, _padded(plan))
        state = samplers.start(latents, plan)
        steps = range(len(plan.timesteps))
        for i in tqdm(steps, desc="sampling", unit="step", file=sys.stderr):
            x = state[0] * plan.scales[i]
            prediction = made["predict"](self.params, context, x, i, guidance)
            drawn = program.clip_noise(keys, i + 1, x.shape) if plan.stochastic else None
            state = jax.block_until_ready(_update(state, prediction, plan.matrices[i], drawn))
        with Note("decoding", True):
            return jax.block_until_ready(made["render"](self.params, state[0])), features


def _padded(plan):
    """Timesteps in few distinct lengths, so that another number finds everything compiled."""
    evaluations = len(plan.timesteps)
    padded = np.zeros(max(64, 1 << (evaluations - 1).bit_length()), np.float32)
    padded[:evaluations] = plan.timesteps
    return padded


def _predict(job, params, context, x, index, guidance):
    return program.denoiser(job, params, context, guidance)(x, index)


_update = jax.jit(samplers.update)


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
