"""Traced programs on disk, so that a later process neither traces nor lowers them again.

They are StableHLO as `jax.export` writes it, which describes a program and holds no code. JAX's own
cache then has the compiled one. A file that is damaged, or of another version, is not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from audioldm2_jax import backend, caching, files
from audioldm2_jax.models.kernels.attention import KeyLengths

# A program of fewer bytes of arguments is traced at once.
MIN_BYTES = 1 << 24
_LIMIT = 1 << 28
_DIGEST = 32
# Settings of JAX that change what is traced.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
)

# A class of results. It has no static fields.
export.register_pytree_node_serialization(
    KeyLengths,
    serialized_name="audioldm2_jax.KeyLengths",
    serialize_auxdata=lambda fields: b"",
    deserialize_auxdata=lambda content: (),
)


def lower(
    run: Callable,
    name: str,
    identity: str,
    arguments: tuple,
    *,
    donate: tuple[int, ...] = (),
):
    """`jax.jit(run).lower(*arguments)`, on the CPU from an earlier process's trace.

    identity: what decides the program beside its name, the arguments' shapes and the versions.
    donate: numbers of arguments whose memory the results may take.
    """
    leaves, structure = jax.tree.flatten(arguments)
    small = sum(np.size(x) * jnp.result_type(x).itemsize for x in leaves) < MIN_BYTES
    if not backend.current().maps_weights or small or _is_split(leaves):
        return jax.jit(run, donate_argnums=donate).lower(*arguments)
    settings = [str(getattr(jax.config, setting)) for setting in _SETTINGS]
    versions = [jax.__version__, jax.lib.__version__, caching.source_digest()]
    kinds = [_kind(leaf) for leaf in leaves]
    key = caching.key(identity, str(structure), kinds, settings, versions)
    path = files.cache_folder("programs") / f"{name}-{key}.stablehlo"
    program = _read(path)
    if program is None:
        try:
            program = _export(run, structure, leaves)
            content = bytes(program.serialize())
        except (ValueError, NotImplementedError):
            # What JAX cannot write: a result of another class, or an operation without a promise.
            return jax.jit(run, donate_argnums=donate).lower(*arguments)
        content = hashlib.sha256(content).digest() + content
        caching.store(path, lambda file: file.write_bytes(content), limit=_LIMIT)
        # As a later process reads it, so that both find the same compiled program.
        program = _read(path) or program
    call = program.call

    def run_again(*arguments):
        return call(*jax.tree.leaves(arguments))

    return jax.jit(run_again, donate_argnums=donate).lower(*arguments)


def _kind(leaf) -> str:
    """Shape and dtype of an argument; a number's dtype gives way to that of arrays."""
    weak = isinstance(leaf, (bool, int, float)) or getattr(leaf, "weak_type", False)
    return f"{jnp.result_type(leaf)}{np.shape(leaf)}{'weak' if weak else ''}"


def _is_split(leaves: list) -> bool:
    """Whether arguments lie on several devices."""
    placed = [x.sharding for x in leaves if getattr(x, "sharding", None) is not None]
    return any(len(sharding.device_set) > 1 for sharding in placed)


def _export(run: Callable, structure, leaves: list) -> export.Exported:
    """The program of the arguments' leaves; its result keeps its structure."""

    def flat(*leaves):
        return run(*jax.tree.unflatten(structure, leaves))

    return export.export(jax.jit(flat))(*leaves)


def _read(path) -> export.Exported | None:
    """The program of a file; None for one that is absent or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        return None
    caching.mark_used(path)
    return export.deserialize(bytearray(content[_DIGEST:]))
