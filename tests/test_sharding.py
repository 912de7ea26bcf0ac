"""One rule for every large parameter of every model; the fit never breaks a shape."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from audioldm2_jax import sharding, tree
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS


def unsharded(shapes, bound=1 << 20):
    """Paths of parameters of more than `bound` bytes in fp32 that no rule names."""
    flat = tree.flatten(dict(shapes))
    large = [path for path, leaf in flat.items() if 4 * math.prod(leaf.shape) > bound]
    return [path for path in large if not any(sharding.logical_axes(path, np.ndim(flat[path])))]


@pytest.mark.slow
@pytest.mark.parametrize("preset", [p for p in PRESETS if not p.startswith("tiny")])
def test_every_large_parameter_has_a_rule(preset):
    config = PRESETS[preset]()
    for name in parts_of(config):
        assert not unsharded(PARTS[name].shapes(getattr(config, name))), name


@pytest.mark.slow
def test_every_rule_is_used():
    paths = set()
    for preset in ("base", "speech"):
        config = PRESETS[preset]()
        for name in parts_of(config):
            paths |= set(tree.flatten(PARTS[name].shapes(getattr(config, name))))
    used = {sharding.logical_axes(path, 4)[2:] for path in paths}
    assert used >= {axes for _, axes in sharding.PARAMETERS}


def test_convolutions_are_not_attention():
    assert sharding.logical_axes("unet/conv_out/kernel", 4) == (None, None, "inputs", "outputs")
    assert sharding.logical_axes("blocks_0/attention/out/kernel", 2) == ("heads", "embed")
    assert sharding.logical_axes("blocks_0/norm/scale", 1) == (None,)


def test_the_fit_divides():
    mesh = sharding.make_mesh({"fsdp": 2, "tensor": 4})
    fit = sharding.fit
    assert fit(("embed", "mlp"), (8, 8), mesh) == PartitionSpec("fsdp", "tensor")
    assert fit(("embed", "mlp"), (7, 8), mesh) == PartitionSpec(None, "tensor")
    assert fit(("embed", "mlp"), (8, 6), mesh) == PartitionSpec("fsdp", None)
    flat = sharding.make_mesh({"data": 8})
    assert fit(("embed", "mlp"), (8, 8), flat) == PartitionSpec(None, None)


def test_optimiser_states_lie_as_parameters():
    import optax

    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    params = {"unet": {"mlp": {"up": {"kernel": np.zeros((128, 256), np.float32)}}}}
    state = jax.eval_shape(optax.adamw(1e-3).init, params)
    shardings = sharding.tree_shardings(state, mesh)
    expected = sharding.tree_shardings(params, mesh)["unet"]["mlp"]["up"]["kernel"]
    assert expected.spec == PartitionSpec("fsdp", "tensor")
    assert shardings[0].mu["unet"]["mlp"]["up"]["kernel"] == expected
    assert shardings[0].count.spec == PartitionSpec()


def test_meshes():
    assert dict(sharding.make_mesh().shape) == {"data": 8, "fsdp": 1, "context": 1, "tensor": 1}
    assert sharding.make_mesh({"fsdp": -1, "tensor": 2}).shape["fsdp"] == 4
    for shape, message in (
        ({"model": 8}, "mesh axis 'model': the axes are data"),
        ({"data": 3}, "does not fit 8 devices"),
        ({"data": -1, "fsdp": -1}, "at most one is -1"),
        ({"data": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            sharding.make_mesh(shape)
