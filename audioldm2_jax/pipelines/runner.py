"""Compiles and runs programs; checks the memory that they need before they run."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from audioldm2_jax import backend
from audioldm2_jax.errors import InputError
from audioldm2_jax.log import timed_message
from audioldm2_jax.pipelines import exported
from audioldm2_jax.pipelines.batch import Batch
from audioldm2_jax.pipelines.programs import scoring, shared
from audioldm2_jax.sharding import make_mesh

_CLIPS, _COPIES = PartitionSpec("data"), PartitionSpec()

# How a mesh splits the arguments of the programs that it runs: parameters first.
_SPECS = {
    shared.condition: (_COPIES, _CLIPS),
    shared.sample_latents: (_COPIES, _CLIPS, _CLIPS, _COPIES, _COPIES),
    shared.render: (_COPIES, _CLIPS),
    scoring.audio_features: (_COPIES, _CLIPS, _COPIES),
}
# Clips that a device samples at once are filled up to one of these, or to multiples of the last.
_SIZES = (1, 2, 4, 8)


def available_memory(devices: Sequence[jax.Device] | None = None) -> int:
    """Bytes free on each of the devices (None: the default one). CPU devices share them."""
    devices = jax.devices()[:1] if devices is None else devices
    stats = [d.memory_stats() if d.platform != "cpu" else None for d in devices]
    if all(s and "bytes_limit" in s for s in stats):
        return min(s["bytes_limit"] - s["bytes_in_use"] for s in stats)
    import psutil

    return psutil.virtual_memory().available // len(devices)


def needed_memory(compiled) -> int:
    """Bytes on each device that a compiled program takes besides its arguments."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.temp_size_in_bytes + results


def result_shapes(compiled):
    """Shapes of what a compiled program returns."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), compiled.out_info)


def check_fits(needed: int, what: str, devices: Sequence[jax.Device] | None = None) -> None:
    """Raises InputError if so many bytes beside the weights are not free on each device."""
    free = available_memory(devices)
    if needed > free:
        raise InputError(
            f"{what}: {needed / 1e9:.1f} GB are needed beside the model, {free / 1e9:.1f} GB are "
            "free: ask for fewer seconds, prompts or candidates"
        )


def check_peak(peak: int, what: str) -> None:
    """Raises InputError if so many bytes, weights included, are not free on the default device."""
    free = available_memory()
    if peak > free:
        raise InputError(
            f"{what} need{'' if what.endswith('s') else 's'} {peak / 1e9:.2f} GB, {free / 1e9:.2f} "
            "GB are free: ask for fewer seconds, or take --quantize int8 or --dtype bf16"
        )


def sampling_mesh(mesh: Mesh | None, *, low_memory: bool = False) -> Mesh | None:
    """The mesh that clips are split over; None: the default device, clip by clip.

    Raises InputError for a mesh that splits something else, or with low_memory.
    """
    if low_memory:
        if mesh is not None:
            raise InputError("low_memory: clips run one after another; leave the mesh out")
        return None
    if mesh is None:
        if not backend.current().batched:
            return None
        return make_mesh(devices=jax.local_devices())
    if mesh.shape.get("data") != mesh.size:
        raise InputError(f"mesh {dict(mesh.shape)}: sampling splits clips alone, over `data`")
    return mesh


class Runner:
    """Keeps the compiled programs of one model.

    mesh: its axis `data` splits clips; None: the default device, clip by clip.
    """

    def __init__(self, dtype, mesh: Mesh | None = None):
        self.dtype, self.mesh = dtype, mesh
        self._compiled: dict = {}

    @property
    def devices(self) -> list[jax.Device] | None:
        """The devices of the mesh; None without one."""
        return None if self.mesh is None else list(self.mesh.devices.flat)

    def place(self, params: dict) -> dict:
        """The parameters on every device of the mesh."""
        if self.mesh is None:
            return params
        return jax.device_put(params, NamedSharding(self.mesh, _COPIES))

    def compiled(
        self,
        function,
        program,
        *arguments,
        label: str,
        progress: bool,
        donate: tuple[int, ...] = (),
    ):
        """The program of function(program, *arguments), compiled once for each shape.

        Arguments may be shapes alone. donate: numbers of those whose memory the results may take;
        the same for each call of a function. Raises InputError if it needs more memory than is
        free.
        """
        key = _identity(function, program, arguments)
        if key not in self._compiled:
            with timed_message(f"compiling the {label}", progress):
                self._compiled[key] = self._compile(function, program, arguments, donate)
            backend.return_memory()
        check_fits(needed_memory(self._compiled[key]), f"the {label}", self.devices)
        return self._compiled[key]

    def _compile(self, function, program, arguments, donate):
        run = functools.partial(function, program)
        # fp32 means fp32: some backends would round products to fewer bits.
        exact = jnp.dtype(self.dtype) == jnp.float32
        with jax.default_matmul_precision("highest" if exact else "default"):
            if self.mesh is None or function not in _SPECS:
                identity = f"{function.__module__} {program} {self.dtype}"
                name = function.__name__
                return exported.lower(run, name, identity, arguments, donate=donate).compile()
            # Each device runs the whole program for its own clips.
            specs = _SPECS[function]
            split = {"in_specs": specs, "out_specs": _CLIPS, "check_vma": False}
            placed = tuple(NamedSharding(self.mesh, spec) for spec in specs)
            with jax.set_mesh(self.mesh):
                run = jax.jit(jax.shard_map(run, mesh=self.mesh, **split), in_shardings=placed)
                return run.lower(*arguments).compile()

    def batch_size(self, clips: int) -> int:
        """To how many clips a batch is filled up, so that few programs are compiled.

        1, 2, 4, 8, 16, 24 ... on each device of the mesh; without one, the batch as it is.
        """
        if self.mesh is None:
            return clips
        on_each = -(-clips // self.mesh.size)
        most = _SIZES[-1]
        filled = next((n for n in _SIZES if n >= on_each), -(-on_each // most) * most)
        return self.mesh.size * filled

    def split(self, batch: Batch) -> Batch:
        """The batch with its clips laid out over the devices of the mesh, which divide them."""
        clips = jax.device_put(batch.clips, NamedSharding(self.mesh, _CLIPS))
        return Batch(clips, batch.schedule, batch.owners)


def _identity(function, program, arguments):
    """What decides a program: the function, what it is of, the arguments' structure and shapes."""
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((np.shape(x), str(jnp.result_type(x))) for x in leaves)
    return function, program, structure, shapes
