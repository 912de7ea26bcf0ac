"""The platform that programs are compiled for, as a value, and the persistent compilation cache.

Nothing else in the package asks JAX for its backend. `targeting` compiles for a platform that this
machine lacks, such as a TPU of a rehearsal.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from audioldm2_jax import files

PLATFORMS = ("cpu", "gpu", "tpu")

# A user context of JAX is part of the key of every trace: a jitted function that was traced for
# one target is traced again for another.
_TARGET = jax.make_user_context(default_value=None)


@dataclass(frozen=True)
class Backend:
    """What the package decides by the platform, "cpu", "gpu" or "tpu".

    JAX may name others ("METAL"); they count as accelerators.
    """

    platform: str

    @property
    def is_cpu(self) -> bool:
        """Whether programs are for the CPU, where each costs more to compile than to run."""
        return self.platform == "cpu"

    @property
    def is_gpu(self) -> bool:
        """Whether programs are for a GPU, where each kernel costs a launch."""
        return self.platform == "gpu"

    @property
    def cpu_kernels(self) -> bool:
        """Whether `models/kernels` computes with its own kernels; XLA's are better elsewhere."""
        return self.is_cpu

    @property
    def cudnn(self) -> bool:
        """Whether cuDNN's fused attention is there: CUDA, and a card of Ampere or later.

        A target without a card counts as one.
        """
        plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
        if not self.is_gpu or not any(map(importlib.util.find_spec, plugins)):
            return False
        return float(getattr(jax.devices()[0], "compute_capability", "8.0")) >= 8.0

    @property
    def donates(self) -> bool:
        """Whether donating arguments saves time.

        Not on the CPU, whose programs copy the moments before they update them in place.
        """
        return not self.is_cpu

    @property
    def batched(self) -> bool:
        """Whether clips are sampled together, in a loop on the device.

        On the CPU, compiling it for another number of clips takes longer than a clip.
        """
        return not self.is_cpu

    @property
    def context_keys(self) -> tuple[int, ...]:
        """Numbers of keys that the U-Net's contexts of texts are padded to.

        The CPU computes the chunks that are needed (`KeyLengths`); elsewhere 512 keys would cost an
        eighth more of attention, so that the few texts over 64 tokens have programs of their own.
        """
        return (512,) if self.is_cpu else (64, 512)

    @property
    def decoded_clips(self) -> int:
        """Clips that are decoded at once: the decoders' activations are the largest of all."""
        return 1 if self.is_cpu else 8

    @property
    def maps_weights(self) -> bool:
        """Whether parameters may be views of a mapped file, since programs read host memory."""
        return self.is_cpu

    @property
    def dtype(self):
        """The dtype of weights and activations where the user names none."""
        return jnp.float32 if self.is_cpu else jnp.bfloat16

    def prepacks(self, dtype) -> bool:
        """Whether kernels of this dtype are transformed or rearranged when weights are loaded."""
        return self.is_gpu or (self.cpu_kernels and dtype == jnp.float32)


def current() -> Backend:
    """The target of `targeting`, else the platform of JAX's default device."""
    if _TARGET.value is not None:
        return Backend(_TARGET.value)
    device = jax.config.jax_default_device
    if device is not None:
        return Backend(getattr(device, "platform", device))
    return Backend(jax.default_backend())


@contextmanager
def targeting(platform: str) -> Iterator[None]:
    """Within the block, and in this thread, programs are traced for `platform`.

    Raises ValueError for a name that is not one of `PLATFORMS`.
    """
    if platform not in PLATFORMS:
        raise ValueError(f"platform {platform!r}: choose one of {' '.join(PLATFORMS)}")
    with _TARGET(platform):
        yield


def return_memory() -> None:
    """Gives memory that was freed back to the system, where the C library is glibc.

    It keeps what XLA's compiler has freed: half a gigabyte after a large U-Net.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def without_cache() -> Iterator[None]:
    """Within the block every program is compiled anew, whatever persistent cache there is.

    A cached program has the same operations, but the source lines of its first compilation.
    """
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it looks at the setting once
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def enable_cache() -> str | None:
    """Turns on the persistent compilation cache, unless the user set one; returns its folder."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(files.cache_folder("xla")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return jax.config.jax_compilation_cache_dir
