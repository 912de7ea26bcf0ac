"""Shardings: one mesh, logical axes by parameter path, and their fit to real shapes.

The mesh always has the same four axes, so the rules do not change with the kind of parallelism.
`data` replicates parameters, `fsdp` splits them and the batch, `tensor` splits widths and heads.
`context` is for lengths, which no stage splits yet, so that its size must be 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from audioldm2_jax.errors import InputError

AXES = ("data", "fsdp", "context", "tensor")
BATCH = ("data", "fsdp")

# Parameters with fewer elements are replicated.
SMALL = 1 << 14

# Logical axes of weights to axes of the mesh.
RULES = {
    "embed": "fsdp",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "inputs": "fsdp",
    "outputs": "tensor",
}

# First match wins; names are those of the trailing axes. Every pattern is anchored at a slash, or
# `out/kernel` would also be a convolution's `conv_out/kernel`.
PARAMETERS = (
    (r"/(query|key|value)/kernel$", ("embed", "heads")),
    (r"/out/kernel$", ("heads", "embed")),
    (r"/(up|gate|mlp_up)/kernel$", ("embed", "mlp")),
    (r"/(down|mlp_down)/kernel$", ("mlp", "embed")),
    (r"/kernel$", ("inputs", "outputs")),
    (r"/(embedding|tokens)$", ("vocab", "embed")),
)


def make_mesh(shape: Mapping[str, int] | None = None, devices=None) -> Mesh:
    """A mesh over all devices; axes that are not named have size 1, one may be -1 (the rest).

    None: all devices along `data`. Raises InputError if the sizes do not fit the devices.
    """
    shape = {"data": -1} if shape is None else dict(shape)
    devices = jax.devices() if devices is None else devices
    if unknown := set(shape) - set(AXES):
        raise InputError(f"mesh axis {min(unknown)!r}: the axes are {' '.join(AXES)}")
    if shape.get("context", 1) != 1:
        raise InputError(f"mesh.context is {shape['context']}: no stage splits lengths yet; use 1")
    sizes = [shape.get(axis, 1) for axis in AXES]
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise InputError(f"mesh {shape}: sizes are at least 1, and at most one is -1 (the rest)")
    known = math.prod(size for size in sizes if size != -1)
    if len(devices) % known or (-1 not in sizes and known != len(devices)):
        raise InputError(f"mesh {shape}: does not fit {len(devices)} devices")
    sizes = [len(devices) // known if size == -1 else size for size in sizes]
    # A TPU's chips lie on a torus, of which an axis of the mesh may be a part of one side.
    placed = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def logical_axes(path: str, ndim: int) -> tuple[str | None, ...]:
    """Names of a parameter's axes; None for axes that are never split."""
    for pattern, axes in PARAMETERS:
        if re.search(pattern, f"/{path}") and len(axes) <= ndim:
            return (None,) * (ndim - len(axes)) + axes
    return (None,) * ndim


def fit(axes, shape, mesh: Mesh, rules: Mapping[str, str] = RULES) -> PartitionSpec:
    """Mesh axes for each dimension; those that do not divide it, or are taken, are left out."""
    spec, used = [], set()
    for name, size in zip(axes, shape):
        axis = rules.get(name)
        if axis and axis not in used and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0:
            used.add(axis)
            spec.append(axis)
        else:
            spec.append(None)
    return PartitionSpec(*spec)


def parameter_sharding(path: str, shape, mesh: Mesh) -> NamedSharding:
    """The sharding of one parameter; small ones are replicated, since splitting them only costs."""
    if math.prod(shape) < SMALL:
        return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, fit(logical_axes(path, len(shape)), shape, mesh))


def tree_shardings(shapes, mesh: Mesh):
    """Shardings of a tree of arrays or shapes, whose paths need only end as parameters' do.

    So optimiser states, which hold trees like the parameters', are sharded like them.
    """

    def one(path, leaf):
        names = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path]
        return parameter_sharding("/".join(names), leaf.shape, mesh)

    return jax.tree_util.tree_map_with_path(one, shapes)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())
