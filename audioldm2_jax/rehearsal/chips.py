"""Chips that programs are rehearsed for: published peaks, and devices that nobody needs to have."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from audioldm2_jax import backend, files
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.metrics import PEAKS


@dataclass(frozen=True)
class Chip:
    """Peak bf16 FLOP/s, memory in bytes, its bandwidth and that of all links, bytes/s, one way.

    gpu: the name by which CUDA calls it; "" for a TPU. source: who publishes the figures.
    """

    flops: float
    memory: float
    bandwidth: float
    links: float
    source: str
    gpu: str = ""

    @property
    def platform(self) -> str:
        """Of `backend.targeting`."""
        return "gpu" if self.gpu else "tpu"


_TPU = "Google Cloud's page of this TPU version; of the memory what the compiler lets programs use"
_NVIDIA = "NVIDIA's data sheet: SXM, dense bf16, NVLink one way; memory as XLA's target states it"
CHIPS = {
    "v5e": Chip(PEAKS["TPU v5e"], 15.75 * 2**30, 819e9, 200e9, _TPU),
    "v5p": Chip(PEAKS["TPU v5p"], 95.73 * 2**30, 2765e9, 600e9, _TPU),
    "v6e": Chip(PEAKS["TPU v6"], 31.24 * 2**30, 1640e9, 448e9, _TPU),
    "h100": Chip(
        PEAKS["NVIDIA H100"], 84942979072, 3.35e12, 450e9, _NVIDIA, "NVIDIA H100 80GB HBM3"
    ),
    "h200": Chip(
        PEAKS["NVIDIA H200"], 151397597184, 4.8e12, 450e9, _NVIDIA, "NVIDIA H200 141GB HBM3e"
    ),
}
# Facts of a Hopper GPU by which XLA chooses tiles and fusions, by the names of XLA's
# GpuDeviceInfoProto (openxla/xla, xla/backends/gpu/target_config/specs/h100_sxm.txtpb, h200.txtpb).
_HOPPER = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49152,
    "shared_memory_per_core": 233472,
    "threads_per_core_limit": 2048,
    "core_count": 132,
    "fpus_per_core": 128,
    "block_dim_limit_x": 2147483647,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "l2_cache_size": 52428800,
    "clock_rate_ghz": 1.98,
    "shared_memory_per_block_optin": 232448,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
}


def chip_of(topology: str) -> Chip:
    """The chip of a topology such as v5e:4x4 or h100:8. Raises InputError for an unknown one."""
    kind = topology.partition(":")[0]
    if kind not in CHIPS:
        kinds = " ".join(CHIPS)
        raise InputError(
            f"--topology {topology}: choose a size of {kinds}, as v5e:4x4, h100 or h100:8"
        )
    return CHIPS[kind]


def devices_of(topology: str) -> list:
    """The topology's devices, as JAX's compiler takes them.

    Raises InputError for a size that there is not, or without the compiler's package.
    """
    chip = chip_of(topology)
    return _gpus(topology, chip) if chip.gpu else _tpus(topology)


def _tpus(topology: str) -> list:
    # No metadata server, no hosts; its notes about that go to a log, not to the screen.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # No chip is taken, so several processes may compile at once.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Any type will do; without one there is a warning.
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5e-1")
    # A host has four chips, but for a single one.
    single = {"chips_per_host_bounds": [1, 1, 1]} if topology.endswith(":1x1") else {}
    _require(topology, "libtpu", "libtpu is", "tpu")
    return _described(topology, platform="tpu", topology_name=topology, **single)


def _gpus(topology: str, chip: Chip) -> list:
    count = topology.partition(":")[2] or "1"
    if count not in ("1", "2", "4", "8"):
        kind = topology.partition(":")[0]
        raise InputError(f"--topology {topology}: a host has 1, 2, 4 or 8 GPUs, as {kind}:8")
    _require(topology, "jax_cuda13_plugin", "JAX's plugin for CUDA 13 (not a GPU) is", "cuda")
    shape = {"topology": f"1x1x{count}", "target_config": gpu_target(chip)}
    return _described(topology, platform="cuda", **shape)


def _require(topology: str, package: str, what: str, extra: str) -> None:
    """Raises InputError, with the line that installs it, if a compiler is missing."""
    if importlib.util.find_spec(package) is None:
        command = f"pip install 'audioldm2-jax[{extra}]'"
        raise InputError(f"--topology {topology}: {what} needed: {command}")


def _described(name: str, **settings) -> list:
    """The devices of a description. name: what messages call the topology."""
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(**settings).devices)
    except Exception as error:  # whatever the compiler raises for a shape that it does not know
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"--topology {name}: {line}") from None


def gpu_target(chip: Chip) -> str:
    """What XLA needs to know of a GPU that is not there: a GpuTargetConfigProto as text."""
    facts = _HOPPER | {
        "memory_bandwidth": int(chip.bandwidth),
        "device_memory_size": int(chip.memory),
    }
    lines = "".join(f"  {name}: {value}\n" for name, value in facts.items())
    return (
        f"gpu_device_info {{\n{lines}  cuda_compute_capability {{ major: 9 }}\n}}\n"
        'platform_name: "CUDA"\n'
        "dnn_version_info { major: 9 minor: 10 patch: 0 }\n"
        "runtime_version { major: 13 minor: 0 patch: 0 }\n"
        f'device_description_str: "{chip.gpu}"\n'
    )


def on_device(device, arguments):
    """The arguments of a program, arrays or shapes, as shapes on a device."""
    place = SingleDeviceSharding(device)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=place), arguments
    )


def compile_there(lowered):
    """A lowered program compiled for the devices that its arguments are on, without any cache.

    Raises JaxRuntimeError for what the compiler cannot do, such as a program that is too large.
    """
    with backend.without_cache():
        try:
            return lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "output tile sizes" not in str(error):
                raise
            # Nothing is tuned without a GPU, and Triton's default tiles do not suit every product:
            # all products are cuBLAS' then.
            return lowered.compile({"xla_gpu_enable_triton_gemm": False})


def compiled_text(compiled, dump: str | None) -> str:
    """A compiled program's text, which is also written to the file `dump` if there is one."""
    text = compiled.as_text()
    if dump is not None:
        files.write_text(dump, text)
    return text
